"""What every conversion of published files does: find them, write the checkpoint, and say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from svp_diffusers.cli.printing import say

if TYPE_CHECKING:
    import torch

    from svp_diffusers.conversion.published import Published

_SPEAKS = (
    "a portrait and speech to a video; style is untrained). Next:\n"
    "  svp generate portrait.png speech.wav --model {output} -o video.mp4"
)
# What each checkpoint is for, and the next command.
PURPOSES = {
    "v-express": _SPEAKS,
    "echomimic": _SPEAKS,
    "hallo": _SPEAKS,
    "animate-anyone": "a portrait and pictures of poses to a video; it hears nothing). Next:\n"
    "  svp generate portrait.png speech.wav --model {output} --pose-video poses.mp4 -o video.mp4",
    "latentsync": "a video and speech to the video with other lips). Next:\n"
    "  svp lip-sync video.mp4 speech.wav --model {output} -o synced.mp4",
    "aniportrait": "a start for training: it hears nothing yet). Next, on cached clips:\n"
    "  svp train image --config image.yaml    # pipeline: {output}\n"
    "  svp train video --config video.yaml    # pipeline: what the image stage made",
}


def choose_published(
    published: Published, repository: str | None, revision: str | None
) -> Published:
    """The published files, of another repository or revision if one is named."""
    return replace(
        published,
        repository=repository or published.repository,
        revision=revision or ("main" if repository else published.revision),
    )


def convert_files(
    family: str,
    output: Path,
    dtype: str,
    given: dict[str, Path | None],
    published: Published,
    from_hub: bool,
    write: Callable[[dict[str, Path], str, torch.dtype], None],
) -> None:
    """Find the files, write the checkpoint and its card, and say what it is for."""
    from svp_diffusers.checkpoints.precision import DTYPES
    from svp_diffusers.errors import ConfigurationError
    from svp_diffusers.hub.converted_cards import render_converted_card

    check_folder(output)
    if dtype not in DTYPES:
        raise ConfigurationError(f"--dtype is one of {', '.join(DTYPES)}; got {dtype!r}.")
    paths, source = find_files(given, published, from_hub)
    write(paths, render_converted_card(family, output.name, source), DTYPES[dtype])
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    say(f"{output}: saved, {size / 1e9:.2f} GB ({PURPOSES[family].format(output=output)}")


def find_files(
    given: dict[str, Path | None], published: Published, from_hub: bool
) -> tuple[dict[str, Path], str]:
    """The path of each file, given by hand or fetched from the Hub, and where they came from."""
    from svp_diffusers.conversion.published import describe_files, fetch_files, list_files
    from svp_diffusers.errors import ConfigurationError

    by_hand = {name: path for name, path in given.items() if path is not None}
    if not from_hub:
        missing = [f"--{name.replace('_', '-')}" for name in given if name not in by_hand]
        if missing:
            raise ConfigurationError(
                f"{', '.join(missing)} missing: give the files, or --from-hub to fetch them from "
                f"{published.repository}."
            )
        return by_hand, "given by hand"
    wanted = {name: path for name, path in published.files.items() if name not in by_hand}
    published = replace(published, files=wanted)
    commit, sizes = list_files(published)
    say(describe_files(published, sizes), err=True)
    return {**by_hand, **fetch_files(published, commit)}, f"{published.repository} at {commit}"


def folder_of(paths: dict[str, Path], name: str, default: str) -> str:
    """The folder of a file that was fetched, or where else it is found."""
    return str(paths[name].parent) if name in paths else default


def check_folder(output: Path) -> None:
    """Raise `OutputError` where no checkpoint can be written."""
    from svp_diffusers.errors import OutputError

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} exists and is not an empty folder; name another.")
