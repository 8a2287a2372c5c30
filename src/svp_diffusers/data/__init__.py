"""Procedural talkers, preparation of real video, shards and datasets."""
