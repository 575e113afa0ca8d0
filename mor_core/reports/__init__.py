"""Model cards and the family file."""
