"""The page of `svp app`: portrait, speech and style by hand, in a browser or by its API."""
