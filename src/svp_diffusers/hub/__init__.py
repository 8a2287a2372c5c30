"""Packaging a checkpoint with its code, model cards, push and pull."""
