"""The training stages, a folder each, on Accelerate."""
