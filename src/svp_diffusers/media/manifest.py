"""The sidecar of a video: everything needed to make the same frames again, as JSON beside it."""

import hashlib
import json
import platform
from collections.abc import Mapping
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.mark import DIGITAL_SOURCE_TYPE
from svp_diffusers.media.output import atomic_path

PACKAGES = ("svp-diffusers", "torch", "diffusers", "transformers", "numpy", "scipy", "pillow", "av")


def write_manifest(
    video: str | Path,
    *,
    seed: int,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, str | Path],
    checkpoint: Mapping[str, str],
) -> Path:
    """Write `<video>.json` beside a finished video and return its path.

    seed: of the `torch.Generator`
    arguments: every argument of the run, defaults included; JSON values, paths and fractions
    inputs: the files that were read, by the role they played ("image", "audio", ...)
    checkpoint: where it came from and its hash, for example {"source": ..., "sha256": ...}

    It holds the versions of the packages that touch the numbers, and the SHA-256 of every input and
    of the video. Raises `ConfigurationError` for an argument JSON cannot hold, `OutputError` when
    it cannot be written.
    """
    video = Path(video)
    content = {
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "versions": {"python": platform.python_version(), **_installed_versions()},
        "platform": platform.platform(),
        "checkpoint": dict(checkpoint),
        "seed": seed,
        "arguments": dict(arguments),
        "inputs": {role: _describe(Path(path)) for role, path in inputs.items()},
        "output": _describe(video),
    }
    try:
        text = json.dumps(content, indent=2, allow_nan=False, default=_to_json) + "\n"
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the manifest of {video} cannot be written: {error}") from error
    path = get_manifest_path(video)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


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
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": hash_file(path)}


def _installed_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def _to_json(value: Any) -> str:
    if isinstance(value, Path | Fraction):
        return str(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")
