"""The page of `svp app` on a Hugging Face Space: on a CPU, on a GPU, or on ZeroGPU."""

import os
import tempfile
from pathlib import Path

from svp_diffusers.app.serving import keep_to, launch_options

folder = Path(tempfile.mkdtemp(prefix="svp-app-"))
keep_to(folder)  # before Gradio is imported

import spaces  # noqa: E402

from svp_diffusers.app.page import build_page  # noqa: E402
from svp_diffusers.app.performer import Performer  # noqa: E402

# ZeroGPU lends a GPU while the decorated function runs; elsewhere the decorator does nothing.
performer = Performer(folder, os.environ.get("SVP_MODEL"))
page = build_page(performer, spaces.GPU(duration=60))

if __name__ == "__main__":
    page.launch(**launch_options(performer))
