"""`svp app`: the page in a browser."""

from typing import Annotated

import typer


def app(
    model: Annotated[
        str | None, typer.Option(help="Folder or Hub id of a checkpoint. Default: svp-tiny.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps. Default: the best.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16, float16 or mixed. Default: mixed on processors that "
            "compute in bfloat16, else float32."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: the first free from 7860 on.")] = None,
) -> None:
    """Serve a page: portrait, speech and style by hand, the video beside them."""
    from svp_diffusers.app.serving import serve_app

    serve_app(model, device, dtype, host, port)
