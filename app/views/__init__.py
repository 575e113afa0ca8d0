"""One page or one part of a page each."""
