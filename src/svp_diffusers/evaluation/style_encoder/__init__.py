"""How well a style encoder separates styles."""
