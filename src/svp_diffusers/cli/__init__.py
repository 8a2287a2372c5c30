"""The `svp` command: parses, calls, prints."""
