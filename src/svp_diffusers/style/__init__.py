"""Styles: named, saved, taken from clips, scheduled, drawn as a map."""
