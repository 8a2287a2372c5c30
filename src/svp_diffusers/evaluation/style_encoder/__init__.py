"""How well a style encoder tells styles apart."""
