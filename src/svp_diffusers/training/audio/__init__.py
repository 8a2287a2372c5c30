"""A small speech encoder."""
