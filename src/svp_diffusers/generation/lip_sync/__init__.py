"""From files to files: what `svp lip-sync` does around its pipeline."""
