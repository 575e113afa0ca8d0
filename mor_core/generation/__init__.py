"""Text in, traced tokens out."""
