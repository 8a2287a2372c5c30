"""What the manifest of a video says, and whether a video is what a request asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from svp_diffusers.checkpoints.loading import (
    find_checkpoint,
    name_checkpoint,
    outline_style_encoder,
)
from svp_diffusers.checkpoints.style_adapters import find_adapter
from svp_diffusers.generation.checks import name_outputs
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.documents import parse_json
from svp_diffusers.media.manifest import (
    Provenance,
    describe_files,
    describe_values,
    get_manifest_path,
    hash_file,
    hash_folder,
)
from svp_diffusers.style.parse import StyleEntry, format_styles, parse_style

ELSEWHERE = {"output", "device", "sign_key"}
"""Arguments that say where a video is made, and not which."""


def describe_run(
    asked: GenerationRequest,
    used: GenerationRequest,
    styles: Sequence[StyleEntry],
    hashes: Mapping[str, str],
) -> Provenance:
    """What the manifest says of a request, as it was given and with all values filled in; `hashes`
    are those of `hash_checkpoint`."""
    return Provenance(
        seed=used.seed,
        request=name_arguments(asked, styles),
        arguments={**asdict(used), **name_sources(used, styles)},
        inputs=list_inputs(used, styles),
        checkpoint={"source": name_checkpoint(used.model), **hashes},
        machine={"device": str(used.device), "threads": torch.get_num_threads()},
    )


def name_arguments(request: GenerationRequest, styles: Sequence[StyleEntry]) -> dict[str, object]:
    """The arguments that say which video is asked for."""
    named = {**asdict(request), **name_sources(request, styles)}
    return {name: value for name, value in named.items() if name not in ELSEWHERE}


def name_sources(request: GenerationRequest, styles: Sequence[StyleEntry]) -> dict[str, str | None]:
    """Checkpoint, style adapter and style by name, without their places on this machine."""
    adapter = request.style_adapter
    return {
        "model": name_checkpoint(request.model),
        "style_adapter": None if adapter is None else name_checkpoint(adapter),
        "style": format_styles(styles),
    }


def hash_checkpoint(
    folder: Path, adapter: Path | None, hash_files: Callable[[Path], str] = hash_folder
) -> dict[str, str]:
    """SHA-256 of a checkpoint's folder, and of a style adapter's."""
    hashes = {"sha256": hash_files(folder)}
    if adapter is not None:
        hashes["style_adapter_sha256"] = hash_files(adapter)
    return hashes


def list_inputs(
    request: GenerationRequest, styles: Sequence[StyleEntry]
) -> Mapping[str, Path | Sequence[Path]]:
    """The files that a video is made from, by the role they play."""
    files = [entry.file for entry in styles if entry.file is not None]
    return {**request.files(), **({"style": files} if files else {})}


def is_made(request: GenerationRequest, hash_files: Callable[[Path], str]) -> bool:
    """Whether all videos of a request are there, unchanged, made of the same files by the same
    checkpoint. What a manifest does not know, since it is older, was not asked for.

    Args:
        request: what is asked for.
        hash_files: gives the SHA-256 of a folder's files.

    Raises:
        SVPError: the request names what there is not.
    """
    outputs = name_outputs(request)
    if not all(path.is_file() and get_manifest_path(path).is_file() for path in outputs):
        return False
    folder = find_checkpoint(request.model)
    adapter = None if request.style_adapter is None else find_adapter(request.style_adapter)
    styles = parse_style(request.style, outline_style_encoder(adapter or folder).style_bank)
    expected: dict[str, Mapping[str, object]] = {
        "request": describe_values(name_arguments(request, styles)),
        "inputs": describe_files(list_inputs(request, styles)),
        "checkpoint": {
            "source": name_checkpoint(request.model),
            **hash_checkpoint(folder, adapter, hash_files),
        },
    }
    for path in outputs:
        try:
            manifest = parse_json(get_manifest_path(path).read_bytes())
        except ValueError:
            return False
        is_same = all(_fill(manifest.get(name), value) == value for name, value in expected.items())
        if not is_same or manifest["output"]["sha256"] != hash_file(path):
            return False
    return True


def _fill(saved: object, expected: Mapping[str, object]) -> object:
    """What is saved, with None for what is missing."""
    return {**dict.fromkeys(expected), **saved} if isinstance(saved, dict) else saved
