"""One file a training stage, on Accelerate."""
