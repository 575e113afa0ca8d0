"""Browser components (Python face and JavaScript)."""
