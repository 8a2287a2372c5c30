"""`svp info`: what is in a checkpoint."""

from typing import Annotated

import typer


def info(
    model: Annotated[
        str | None, typer.Argument(help="Folder or Hub id of a checkpoint. Default: svp-tiny.")
    ] = None,
) -> None:
    """Show a checkpoint's components, their sizes, and its style bank."""
    from rich.console import Console
    from rich.table import Table

    from svp_diffusers.checkpoints.description import describe_checkpoint
    from svp_diffusers.checkpoints.lip_sync import find_any_checkpoint

    description = describe_checkpoint(find_any_checkpoint(model))
    table = Table("component", "class", "parameters", "dtype", "megabytes")
    for part in description.components:
        table.add_row(
            part.name,
            part.class_name,
            f"{part.parameters:,}" if part.parameters else "",
            part.dtypes,
            f"{part.bytes / 1e6:.1f}" if part.bytes else "",
        )
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(table)
    if description.layout is None:
        console.print(f"lip-sync: paints aligned faces of {description.size} pixels")
        return
    console.print(
        f"{description.size} x {description.size} pixels, head keypoints {description.layout}, "
        f"style vectors of {description.style_dim} numbers"
    )
    console.print("styles: " + (", ".join(description.styles) or "none named; the prior only"))
