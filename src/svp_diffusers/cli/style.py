"""`svp style ...`: take styles from clips, sample, blend, compare, draw and keep them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svp_diffusers.cli.options import takes_fields_of
from svp_diffusers.cli.printing import say
from svp_diffusers.generation.request import StyleRequest

if TYPE_CHECKING:
    from svp_diffusers.models.style_encoder_svp import StyleDistribution

app = typer.Typer(
    help="Speaking styles: encode, sample, blend, compare, draw and keep them.",
    no_args_is_help=True,
)

Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="Folder or Hub id of a style encoder or pipeline, whose styles are named. "
        "Default: svp-tiny."
    ),
]
LocalModel = Annotated[
    Path | None,
    typer.Option(help="Folder of a style encoder, or of a pipeline that has one: no svp-tiny."),
]
Style = Annotated[str, typer.Argument(help="A .style.safetensors file, a name, or 'prior'.")]
Styles = Annotated[list[str], typer.Argument(help="Style files, or names in the checkpoint.")]


@app.command()
@takes_fields_of(StyleRequest)
def encode(request: StyleRequest) -> None:
    """Take the speaking style of a clip."""
    from svp_diffusers.generation.styles import encode_clip_to_file

    style = encode_clip_to_file(request)
    say(f"{request.output}: {style.name}, from {style.source}, mean width {style.std.mean():.3f}")


@app.command()
def sample(
    style: Style,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the samples.")],
    model: Model = None,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 4,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is the mean.")] = 1.0,
    seed: int = 0,
) -> None:
    """Draw single performances from a style; each is a style file without any spread."""
    from dataclasses import replace

    import torch

    from svp_diffusers.media.numbers import check_option, check_options
    from svp_diffusers.pipelines.numbers_svp import MOST_SCALE
    from svp_diffusers.style.storage import STYLE_SUFFIX, save_style

    check_options(seed=seed)
    check_option("number", number, 1, 10_000, whole=True)
    check_option("temperature", temperature, 0, MOST_SCALE)
    (distribution,) = _load([style], model)
    generator = torch.Generator().manual_seed(seed)
    for index, vector in enumerate(distribution.sample(number, temperature, generator)):
        drawn = replace(
            distribution,
            mean=vector,
            std=torch.zeros_like(vector),
            source=f"sample {index} of {style}, temperature {temperature:g}, seed {seed}",
        )
        path = output / f"sample-{index:02d}{STYLE_SUFFIX}"
        save_style(drawn, path)
        say(path)


@app.command()
def interpolate(
    first: Style,
    second: Style,
    output: Output,
    weight: Annotated[float, typer.Option(min=0.0, max=1.0, help="0: first, 1: second.")] = 0.5,
    model: Model = None,
) -> None:
    """Go from one style to another, along the Wasserstein-2 geodesic."""
    from svp_diffusers.style.storage import check_style_output

    check_style_output(output)
    start, end = _load([first, second], model)
    _save(start.interpolate(end, weight), output, f"{first} to {second}, weight {weight:g}")


@app.command()
def mix(
    styles: Styles,
    output: Output,
    weight: Annotated[
        list[float] | None, typer.Option("-w", "--weight", help="One per style; default: equal.")
    ] = None,
    model: Model = None,
) -> None:
    """Mix styles (their Wasserstein-2 barycentre)."""
    from svp_diffusers.errors import StyleError
    from svp_diffusers.models.style_encoder_svp import StyleDistribution
    from svp_diffusers.style.storage import check_style_output

    check_style_output(output)
    weights = weight or [1.0] * len(styles)
    loaded = _load(styles, model)
    try:
        mixed = StyleDistribution.mix(loaded, weights)
    except ValueError as error:
        raise StyleError(str(error)) from error
    shares = ", ".join(f"{text} {w:g}" for text, w in zip(styles, weights, strict=True))
    _save(mixed, output, f"mix of {shares}")


@app.command("list")
def list_styles(model: Model = None) -> None:
    """List the styles in a checkpoint's bank."""
    from svp_diffusers.checkpoints.loading import load_style_encoder

    encoder = load_style_encoder(model or "svp-tiny")
    for name, style in encoder.style_bank.items():
        distance = float(style.wasserstein(encoder.prior()))
        say(f"{name}\twidth {style.std.mean():.3f}\tdistance from prior {distance:.3f}")


@app.command()
def compare(first: Style, second: Style, model: Model = None) -> None:
    """How far two styles are from each other."""
    a, b = _load([first, second], model)
    say(f"Wasserstein-2 distance\t{a.wasserstein(b):.4f}")
    say(f"distance of the means\t{(a.mean - b.mean).norm():.4f}")
    if (a.std > 0).all() and (b.std > 0).all():
        say(f"KL(first || second)\t{a.kl(b):.4f} nats")
        say(f"KL(second || first)\t{b.kl(a):.4f} nats")


@app.command()
def plot(
    output: Output,
    styles: Annotated[
        list[str] | None,
        typer.Argument(help="Style files, or names in the checkpoint. Default: all of its names."),
    ] = None,
    model: Model = None,
) -> None:
    """Draw a map of styles, or of all in a checkpoint's bank."""
    from svp_diffusers.checkpoints.loading import load_style_encoder
    from svp_diffusers.media.output import check_output
    from svp_diffusers.style.plot import PICTURE_SUFFIXES, plot_styles

    check_output(output, *PICTURE_SUFFIXES)
    if styles:
        loaded = _load(styles, model)
    else:
        loaded = list(load_style_encoder(model or "svp-tiny").style_bank.values())
    plot_styles(loaded, output)
    say(output)


@app.command()
def add(name: str, style: Style, model: LocalModel = None) -> None:
    """Put a style into the bank of a local style encoder."""
    from svp_diffusers.checkpoints.loading import (
        check_changeable,
        load_style_encoder,
        outline_style_encoder,
        save_style_encoder,
    )
    from svp_diffusers.errors import StyleError
    from svp_diffusers.media.locking import hold
    from svp_diffusers.style.storage import find_style

    folder = check_changeable(model)
    with hold(folder, "styles"):  # from reading to writing, so that none of two is lost
        find_style(style, outline_style_encoder(folder))  # before weights are loaded
        encoder = load_style_encoder(folder)
        try:
            encoder.add_style(name, find_style(style, encoder))
        except ValueError as error:
            raise StyleError(str(error)) from error
        save_style_encoder(encoder, folder)


@app.command()
def remove(name: str, model: LocalModel = None) -> None:
    """Take a style out of the bank of a local style encoder."""
    from svp_diffusers.checkpoints.loading import (
        check_changeable,
        load_style_encoder,
        save_style_encoder,
    )
    from svp_diffusers.errors import StyleError
    from svp_diffusers.media.locking import hold

    folder = check_changeable(model)
    with hold(folder, "styles"):  # from reading to writing, so that none of two is lost
        encoder = load_style_encoder(folder)
        try:
            encoder.remove_style(name)
        except ValueError as error:
            raise StyleError(str(error)) from error
        save_style_encoder(encoder, folder)


def _load(texts: list[str], model: str | None) -> list[StyleDistribution]:
    """The styles; names and files are checked before weights are loaded, if they are needed."""
    from svp_diffusers.checkpoints.loading import load_style_encoder, outline_style_encoder
    from svp_diffusers.style.storage import check_same_space, find_style

    if model is None and not all(text.endswith(".safetensors") for text in texts):
        model = "svp-tiny"
    outline = None if model is None else outline_style_encoder(model)
    styles = [find_style(text, outline) for text in texts]
    check_same_space(styles)
    if not any(style.mean.is_meta for style in styles):  # all are files
        return styles
    encoder = load_style_encoder(model)
    return [find_style(text, encoder) for text in texts]


def _save(style: StyleDistribution, output: Path, source: str) -> None:
    from dataclasses import replace

    from svp_diffusers.style.storage import STYLE_SUFFIX, save_style

    name = output.name.removesuffix(STYLE_SUFFIX)
    save_style(replace(style, name=name, source=source), output)
    say(output)
