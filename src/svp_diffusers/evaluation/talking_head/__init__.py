"""How well a talking-head checkpoint does its job, measured on procedural talkers."""
