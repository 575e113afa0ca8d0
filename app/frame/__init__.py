"""What every page has: header, links, messages, exports."""
