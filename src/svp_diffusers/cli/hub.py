"""`svp push` and `svp pull`: checkpoints, LoRAs, styles and style adapters to and from the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from svp_diffusers.cli.printing import say

Repository = Annotated[str, typer.Argument(help="Repository on the Hub, owner/name.")]


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint, LoRA, style or adapter.")],
    repository: Repository,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="How it is created. Default: LoRAs and style adapters private, others by your "
            "account's setting.",
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Add weights of this precision: fp16 or bf16.")
    ] = None,
    pr: Annotated[bool, typer.Option("--pr", help="Propose it as a pull request.")] = False,
) -> None:
    """Push a folder to the Hub in one commit: weights, code, styles, card, samples, figures."""
    from svp_diffusers.hub.push import push_folder

    say(push_folder(folder, repository, private, variant, create_pr=pr))


def pull(
    repository: Annotated[str, typer.Argument(help="On the Hub, owner/name; or svp-tiny.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default: the Hub's cache.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
) -> None:
    """Download from the Hub what `svp push` pushes, check it, and print its folder.

    `svp pull svp-tiny -o FOLDER` copies the checkpoint of this package, with its code.
    """
    from svp_diffusers.hub.pull import pull_repository

    say(pull_repository(repository, output, revision))
