"""Stage 1: the style encoder."""
