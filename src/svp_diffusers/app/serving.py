"""Serving the page from a folder of its own, which is gone afterwards."""

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from svp_diffusers.app.form import MOST_BYTES
from svp_diffusers.app.guard import Guard
from svp_diffusers.app.live import serve_live
from svp_diffusers.app.page import CSS, build_page, check_gradio
from svp_diffusers.app.performer import Performer


def serve_app(
    model: str | None, device: str | None, dtype: str | None, host: str, port: int | None
) -> None:
    """Serve the app until it is interrupted or terminated.

    Args:
        model: folder or Hub id of a checkpoint; None is svp-tiny.
        device: None is the best there is.
        dtype: see `select_precision`.
        host: address to listen at; "0.0.0.0" is every one of this machine.
        port: None is the first that is free from 7860 on.

    Raises:
        MissingDependencyError: Gradio is not installed.
        CheckpointError, ConfigurationError: there is no such checkpoint or device.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the folder goes then too
    with tempfile.TemporaryDirectory(prefix="svp-app-") as folder:
        keep_to(Path(folder))
        check_gradio()
        performer = Performer(Path(folder), model, device, dtype)
        page = build_page(performer)
        page.launch(server_name=host, server_port=port, **launch_options(performer))


def keep_to(folder: Path) -> None:
    """Let Gradio keep uploads and results in a folder; it reads where when it is imported."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def launch_options(performer: Performer) -> dict[str, Any]:
    """The arguments of `gradio.Blocks.launch` that guard a page, for whoever launches it.

    Args:
        performer: of the page.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    return {
        "max_file_size": MOST_BYTES,
        "app_kwargs": {
            "middleware": [Middleware(Guard)],
            "routes": [serve_live(performer.watched)],
        },
        "css": CSS,
        "theme": gr.themes.Base(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "footer_links": ["api"],
        "share": False,
        "show_error": False,
        "enable_monitoring": False,
    }
