"""Style files: reading and writing with errors that say what to do."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from svp_diffusers.errors import OutputError, StyleError
from svp_diffusers.media.input import check_input
from svp_diffusers.media.output import check_output
from svp_diffusers.models.style_encoder_svp import (
    StyleDistribution,
    StyleEncoder,
    describe_unknown,
)

STYLE_SUFFIX = ".style.safetensors"


def load_style(path: str | Path) -> StyleDistribution:
    """Read a style file.

    Raises `MediaError` for a missing or empty file and `StyleError` for one that holds no style.
    """
    path = check_input(path)
    try:
        return StyleDistribution.load(path)
    except SafetensorError as error:
        raise StyleError(f"{path} is not a style file, or damaged: {error}") from error
    except ValueError as error:
        raise StyleError(str(error)) from error


def check_style_output(path: str | Path) -> Path:
    """Check, before the work is done, that a style file can be written there.

    Raises:
        OutputError: if it cannot, or would not be known as a style file by its name.
    """
    if not str(path).endswith(".safetensors"):
        raise OutputError(f"{path} is no name of a style file: use NAME{STYLE_SUFFIX}")
    return check_output(path)


def save_style(style: StyleDistribution, path: str | Path) -> None:
    """Write a style file; raises `OutputError` when it cannot be written there."""
    path = check_style_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    style.save(path)


def find_style(text: str, encoder: StyleEncoder | None) -> StyleDistribution:
    """A style by file name or, given an encoder, by its name in the bank ("prior" is N(0, I)).

    Raises:
        MediaError: a style file is missing or empty.
        StyleError: an unknown name, no style in the file, or the style of another encoder.
    """
    if text.endswith(".safetensors"):
        style = load_style(text)
        if encoder is not None:
            check_style(encoder, style, text)
        return style
    if encoder is None:
        raise StyleError(
            f"{text!r} is no style file (*{STYLE_SUFFIX}); a name needs the checkpoint it is in "
            "(--model)"
        )
    names = list(encoder.style_bank)
    if text not in names and text != "prior":
        raise StyleError(describe_unknown(text, [*names, "prior"]))
    return encoder.get_style(text) if text in names else encoder.prior()


def check_style(encoder: StyleEncoder, style: StyleDistribution, where: str) -> None:
    """Raise `StyleError` unless the style belongs to the encoder's space."""
    try:
        encoder.check_style(style)
    except ValueError as error:
        raise StyleError(f"{where}: {error}") from error


def check_same_space(styles: Sequence[StyleDistribution]) -> None:
    """Raise `StyleError` unless all styles are of one encoder, so that they can be compared."""
    spaces = {(style.encoder_id, style.mean.shape[-1]) for style in styles}
    if len(spaces) > 1:
        known = ", ".join(
            f"{dim} dimensions of encoder {name}" for name, dim in sorted(spaces, key=str)
        )
        raise StyleError(
            f"the styles live in different spaces ({known}); encode all with one encoder"
        )
