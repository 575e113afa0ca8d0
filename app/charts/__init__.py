"""Pure: tables to figures."""
