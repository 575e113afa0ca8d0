"""The `mor` command."""
