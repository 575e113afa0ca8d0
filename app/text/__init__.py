"""Every word, in every language; display names; error messages."""
