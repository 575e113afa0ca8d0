"""Theme and palettes."""
