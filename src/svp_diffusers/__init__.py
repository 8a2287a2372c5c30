"""SVP, Style-Enhanced Vivid Portrait (arXiv 2409.03270), on Hugging Face diffusers."""

__version__ = "0.1.0"
