"""What all stages share: options, loop, run folder, estimate."""
