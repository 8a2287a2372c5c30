"""Reading expression coefficients: files in, `(frames, dim)` at 25 frames per second out."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from svp_diffusers.errors import ExpressionError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.expression.mat_file import read_variable
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.arrays import read_arrays
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.input import check_input

# Columns of Deep3DFaceRecon's `coeff` (also PIRenderer's): identity, then expression, then others.
DEEP3D_COLUMNS = 257
DEEP3D_EXPRESSION = slice(80, 144)
# Frame rates of files that do not say theirs: MEAD's, and what Live Link Face records by default.
DEFAULT_MAT_FPS = Fraction(25)
DEFAULT_CSV_FPS = Fraction(60)


def read_expressions(path: str | Path, fps: Fraction | None = None) -> Expressions:
    """Read a coefficient file and resample it to 25 frames per second.

    Formats: `.mat` with `coeff (frames, 257)` of Deep3DFaceRecon or PIRenderer (`bfm64`); `.npz`
    with `expression (frames, dim)`, `space` and `fps`; `.csv` exported by Live Link Face
    (`arkit52`).

    Args:
        fps: frame rate of the file. `.npz` files say it themselves; default for `.mat` is 25
            and for `.csv` 60.

    Raises:
        MediaError: the file is missing, empty or not readable.
        ExpressionError: the format is unknown or the content is not what the format holds.
    """
    path = check_input(path)
    readers: dict[str, Callable[[Path, Fraction | None], Expressions]] = {
        ".mat": _read_mat,
        ".npz": _read_npz,
        ".csv": _read_live_link_csv,
    }
    if path.suffix.lower() not in readers:
        raise ExpressionError(
            f"{path} is no coefficient file; give one of {', '.join(readers)} or a video"
        )
    return readers[path.suffix.lower()](path, fps).resample()


def _read_mat(path: Path, fps: Fraction | None) -> Expressions:
    try:
        coefficients = read_variable(path, "coeff")
    except (ValueError, OSError) as error:
        raise ExpressionError(f"{path} is not a readable .mat file: {error}") from error
    if coefficients is None:
        raise ExpressionError(f"{path} has no variable `coeff` as Deep3DFaceRecon writes it")
    if coefficients.ndim != 2 or coefficients.shape[1] != DEEP3D_COLUMNS:
        raise ExpressionError(
            f"`coeff` of {path} must be (frames, {DEEP3D_COLUMNS}), not {coefficients.shape}"
        )
    values = coefficients[:, DEEP3D_EXPRESSION].copy()
    return Expressions(values, "bfm64", fps or DEFAULT_MAT_FPS, str(path))


def _read_npz(path: Path, fps: Fraction | None) -> Expressions:
    names = ("expression", "space", "fps")
    try:
        arrays = read_arrays(path, names)
    except (ValueError, OSError) as error:
        raise ExpressionError(f"{path} is not a readable .npz file: {error}") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ExpressionError(f"{path} lacks {', '.join(missing)}: declare what the numbers are")
    if fps is not None:
        raise ExpressionError(f"{path} says its own frame rate; leave the frame rate away")
    values = arrays["expression"]
    if values.dtype.kind not in "iuf":
        raise ExpressionError(f"`expression` of {path} holds {values.dtype}, not numbers")
    stored = arrays["fps"]
    try:
        text = stored.dtype.kind == "U"
        rate = parse_fps(str(stored)) if text else Fraction(stored.item()).limit_denominator(1001)
    except (ValueError, OverflowError) as error:
        raise ExpressionError(f"`fps` of {path} is not one frame rate: {error}") from error
    return Expressions(values.astype(np.float32), str(arrays["space"]), rate, str(path))


def _read_live_link_csv(path: Path, fps: Fraction | None) -> Expressions:
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise ExpressionError(f"{path} is not a readable .csv file: {error}") from error
    # Live Link Face writes the ARKit names with a capital first letter.
    columns = [name[0].upper() + name[1:] for name in ARKIT_BLENDSHAPES]
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise ExpressionError(
            f"{path} is no Live Link Face export: {len(missing)} of the 52 blend shape columns "
            f"are missing, first {missing[0]}"
        )
    try:
        values = np.array([[float(row[name]) for name in columns] for row in rows], np.float32)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"{path} has a value that is not a number: {error}") from error
    return Expressions(values, "arkit52", fps or DEFAULT_CSV_FPS, str(path))
