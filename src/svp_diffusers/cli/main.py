"""The `svp` command. Modules of this package import at the top only typer, the standard library and
requests: `svp --help` must answer at once, so everything heavy is imported inside the commands."""

import os
import sys
import warnings
from typing import Annotated

import typer

from svp_diffusers.cli import data, evaluate, style, train
from svp_diffusers.cli.app import app as serve
from svp_diffusers.cli.batch import batch
from svp_diffusers.cli.convert import app as convert
from svp_diffusers.cli.demo import demo
from svp_diffusers.cli.generate import generate
from svp_diffusers.cli.hub import pull, push
from svp_diffusers.cli.info import info
from svp_diffusers.cli.lip_sync import lip_sync
from svp_diffusers.cli.printing import say, say_warning

app = typer.Typer(
    name="svp",
    help="Portrait + speech + style in, talking-head video out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


app.command()(generate)
app.command("lip-sync")(lip_sync)
app.command()(batch)
app.command("app")(serve)
app.command()(demo)
app.command()(info)
app.add_typer(convert, name="convert")
app.add_typer(style.app, name="style")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(data.app, name="data")
app.command()(push)
app.command()(pull)


INTERRUPTED = 130  # the exit status by which typer tells of Ctrl-C


def show_version(wanted: bool) -> None:
    """Print the version, if it is asked for, and end."""
    if wanted:
        from importlib.metadata import version

        say(f"svp-diffusers {version('svp-diffusers')}")
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Portrait + speech + style in, talking-head video out."""


def main() -> None:
    """Run the command line; our own errors become one message and exit status 1.

    The threads of PyTorch wait without spinning, unless the environment says otherwise: where other
    programs keep the cores busy, a thread that spins takes the time of the one it waits for.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when PyTorch is imported
    from svp_diffusers.errors import SVPError

    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        try:
            app()
        except SVPError as error:
            say(f"error: {error}", err=True)
            sys.exit(1)
        except SystemExit as ended:
            if ended.code == INTERRUPTED:
                say("interrupted", err=True)
            raise
