"""All stages one after another, at the size of svp-tiny."""
