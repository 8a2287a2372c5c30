"""The diffusers pipeline."""
