"""Expression coefficients: their spaces, files and tracks."""
