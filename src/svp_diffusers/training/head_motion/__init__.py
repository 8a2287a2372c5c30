"""Training of the head motion model."""
