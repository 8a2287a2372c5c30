"""Checkpoints: found, loaded, described; svp-tiny is one that ships here."""
