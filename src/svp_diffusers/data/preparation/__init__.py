"""Real video turned into training shards: each step is a function of its own, `run` joins them."""
