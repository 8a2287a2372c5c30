"""The sidecar of a video: everything needed to make the same frames again, as JSON beside it."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.mark import DIGITAL_SOURCE_TYPE
from svp_diffusers.media.output import atomic_path

PACKAGES = ("svp-diffusers", "torch", "diffusers", "transformers", "numpy", "scipy", "pillow", "av")


@dataclass(frozen=True)
class Provenance:
    """What made a video.

    Attributes:
        seed: of the `torch.Generator`.
        request: the arguments as they were given: which video this is, values as for `arguments`.
        arguments: every argument of the run with the value used, defaults included: JSON values,
            paths and fractions. Of a path the manifest says the name only, not where it lay.
        inputs: the files that were read, by the role they played ("image", "audio", "style", ...).
        checkpoint: where it came from and its hash: {"source": ..., "sha256": ...}.
        machine: what else the numbers depend on: {"device": ..., "threads": ...}.
    """

    seed: int
    request: Mapping[str, object]
    arguments: Mapping[str, object]
    inputs: Mapping[str, Path | Sequence[Path]]
    checkpoint: Mapping[str, str]
    machine: Mapping[str, str | int]


def write_manifest(
    video: str | Path, provenance: Provenance, content_at: Path | None = None
) -> Path:
    """Write `<video>.json` beside a finished video and return its path.

    `content_at` is where the video's content lies, if it is not yet under its name.

    It holds the versions of the packages that touch the numbers, and the SHA-256 of every input and
    of the video. Raises `ConfigurationError` for an argument JSON cannot hold, `OutputError` when
    it cannot be written.
    """
    video = Path(video)
    content = {
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "versions": {"python": platform.python_version(), **_installed_versions()},
        "platform": platform.platform(),
        "machine": dict(provenance.machine),
        "checkpoint": dict(provenance.checkpoint),
        "seed": provenance.seed,
        "request": describe_values(provenance.request),
        "arguments": describe_values(provenance.arguments),
        "inputs": describe_files(provenance.inputs),
        "output": {**_describe(content_at or video), "name": video.name},
    }
    text = json.dumps(content, indent=2) + "\n"
    path = get_manifest_path(video)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def describe_values(values: Mapping[str, object]) -> dict[str, object]:
    """Arguments as JSON gives them back, of a path the name only.

    Raises:
        ConfigurationError: JSON cannot hold one.
    """
    try:
        described: dict[str, object] = json.loads(
            json.dumps(values, allow_nan=False, default=_to_json)
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the manifest cannot be written: {error}") from error
    return described


def describe_files(files: Mapping[str, Path | Sequence[Path]]) -> dict[str, object]:
    """Name, size and SHA-256 of files, by their role."""
    return {
        role: _describe(each) if isinstance(each, Path) else [_describe(file) for file in each]
        for role, each in files.items()
    }


def get_manifest_path(video: str | Path) -> Path:
    """`talk.mp4` -> `talk.mp4.json`."""
    video = Path(video)
    return video.with_name(video.name + ".json")


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def hash_folder(folder: str | Path) -> str:
    """SHA-256 over the names and contents of all files below a folder, hidden ones left out."""
    folder = Path(folder)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()


def _describe(path: Path) -> dict[str, str | int]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}


def _installed_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def _to_json(value: object) -> str:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Fraction):
        return str(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")
