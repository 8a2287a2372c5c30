"""The trainable components, one self-contained file each."""
