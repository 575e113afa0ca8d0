"""Pure: traces and result files to tables."""
