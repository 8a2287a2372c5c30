"""From files to files: what `svp generate` and `svp demo` do around the pipeline."""
