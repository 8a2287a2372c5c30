"""Published checkpoints to our components."""
