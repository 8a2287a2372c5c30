"""Which files to prepare, and what the user knows about each."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from svp_diffusers.data.clips import SPLITS
from svp_diffusers.errors import DatasetError, MediaError
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.checkpoint_svp import exists

CONSENT = ("yes", "no", "")


@dataclass(frozen=True)
class Source:
    """A file to prepare.

    Args:
        path: the file.
        metadata: speaker, emotion, licence, consent, split, ... as given; `split` is always set.
        face_file: keypoints or boxes of its face, or None to detect it.
        expression_file: its coefficients for `expression.coefficients.read_expressions`, or None.
        notes: what the report should say beside the result.
    """

    path: Path
    metadata: Mapping[str, str]
    face_file: Path | None = None
    expression_file: Path | None = None
    notes: tuple[str, ...] = field(default=())


def list_sources(
    inputs: Sequence[str],
    metadata: Path | None = None,
    face_files: str | None = None,
    expression_files: str | None = None,
) -> list[Source]:
    """List every file below the inputs, sorted by path, each once.

    Args:
        inputs: files, folders (searched recursively; hidden files are passed over), globs, or
            `@list.txt` naming a text file with one of those a line.
        metadata: a CSV with a column `file` (absolute, or relative to the CSV) and any others;
            `split` is one of train (default), validation, test; `consent` is yes, no or empty.
        face_files: where the keypoints or boxes of a video lie, with `{parent}` and `{stem}` of the
            video, e.g. `{parent}/head_keypoints.npy`. Those files are no sources themselves.
        expression_files: the same for expression coefficients.

    Raises:
        MediaError: an input matches no file, or there is none at all.
        DatasetError: the CSV is missing or malformed.
    """
    paths = sorted({path for given in inputs for path in _expand(given)})
    rows = {} if metadata is None else _read_metadata(metadata)
    faces = {path: _fill_template(face_files, path) for path in paths}
    expressions = {path: _fill_template(expression_files, path) for path in paths}
    beside = {*faces.values(), *expressions.values()}
    sources: list[Source] = []
    for path in paths:
        if path in beside:
            continue
        row = rows.get(path.resolve())
        notes = () if row is not None or metadata is None else (f"no row in {metadata.name}",)
        sources.append(
            Source(path, {"split": "train"} | (row or {}), faces[path], expressions[path], notes)
        )
    if not sources:
        raise MediaError("there is nothing to prepare: the list, or what is left of it, is empty")
    return sources


def _expand(given: str, is_listed: bool = False) -> list[Path]:
    if given.startswith("@") and not is_listed:
        try:
            lines = check_input(given[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise MediaError(f"the list {given[1:]} cannot be read: {error}") from error
        return [path for line in lines if line.strip() for path in _expand(line.strip(), True)]
    path = Path(given).absolute()
    if not exists(path):
        found = [Path(file).absolute() for file in glob(given, recursive=True)]  # noqa: PTH207
    elif path.is_dir():
        found = [
            file
            for file in path.rglob("*")
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
        ]
    else:
        found = [path] if path.is_file() else []  # a pipe or a device has no end
    if not found:
        raise MediaError(f"{given[:200]} matches no file")
    return found


def _fill_template(template: str | None, path: Path) -> Path | None:
    if template is None:
        return None
    parts = {"{parent}": str(path.parent), "{stem}": path.stem}
    texts = re.split(r"(\{parent\}|\{stem\})", template)
    if any(brace in text for text in texts if text not in parts for brace in "{}"):
        raise DatasetError(f"{template!r} may use {{parent}} and {{stem}} of the video only")
    return Path("".join(parts.get(text, text) for text in texts)).absolute()


def _read_metadata(path: Path) -> dict[Path, dict[str, str]]:
    try:
        with check_input(path).open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error, MediaError) as error:
        raise DatasetError(f"the metadata {path} cannot be read: {error}") from error
    found: dict[Path, dict[str, str]] = {}
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values() or not row.get("file"):
            raise DatasetError(f"{path}, line {line}: every line needs a `file` and all columns")
        name = row.pop("file")
        if "\0" in name:
            raise DatasetError(f"{path}, line {line}: {name!r} is not the name of a file")
        file = (path.absolute().parent / name).resolve()
        values = {name: value for name, value in row.items() if value}
        if file in found:
            raise DatasetError(f"{path}, line {line}: {file} comes twice")
        if values.get("split", "train") not in SPLITS:
            raise DatasetError(f"{path}, line {line}: split must be one of {', '.join(SPLITS)}")
        if values.get("consent", "") not in CONSENT:
            raise DatasetError(f"{path}, line {line}: consent must be yes, no or empty")
        found[file] = values
    return found
