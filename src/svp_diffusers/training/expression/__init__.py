"""Encoders from pictures or latents to expressions."""
