"""What everybody may use and what knows nobody: errors, small numeric helpers, log levels."""
