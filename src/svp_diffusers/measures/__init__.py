"""Measures of pictures and tracks, and intervals around them."""
