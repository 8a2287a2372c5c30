"""Finding and loading a pipeline's checkpoint: a folder, a repository on the Hub, or svp-tiny."""

import json
from pathlib import Path
from typing import Any

import torch

from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

SVP_TINY = Path(__file__).parent / "svp_tiny"
"""The checkpoint that ships with the package; it knows drawn people only. See its README.md."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COMPONENTS = (
    "vae",
    "reference_unet",
    "unet",
    "head_guider",
    "audio_encoder",
    "feature_extractor",
    "audio_projector",
    "style_encoder",
    "scheduler",
)


def find_checkpoint(model: str | None) -> Path:
    """Give the folder of a checkpoint; no weight is loaded.

    Args:
        model: a folder, or the id of a repository on the Hub, which is downloaded to the cache.
            None is svp-tiny.

    Raises:
        CheckpointError: if it cannot be found, or a component is missing.
    """
    folder = SVP_TINY if model is None else Path(model)
    if not folder.exists():
        folder = _download(str(model))
    check_components(folder)
    return folder


def _download(repository: str) -> Path:
    try:
        return Path(SVPTalkingHeadPipeline.download(repository))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{repository} is neither a folder nor a repository that the Hub gives us ({error}). "
            "Check the name, your connection, and, if it is private, `hf auth login`."
        ) from error


def check_components(folder: Path) -> None:
    """Check that a folder holds a checkpoint of our pipeline, with every component.

    Raises:
        CheckpointError: naming what is missing.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise CheckpointError(
            f"{folder} has no model_index.json: give the folder of a checkpoint, made by "
            "`svp convert` or `save_pretrained`."
        )
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{index} is not JSON ({error}); save the pipeline again.") from error
    if not isinstance(entries, dict):
        raise CheckpointError(f"{index} does not hold a JSON object; save the pipeline again.")
    missing = [name for name in COMPONENTS if not entries.get(name) or not (folder / name).is_dir()]
    if missing:
        raise CheckpointError(
            f"{folder} is not a complete SVP checkpoint: it lacks {', '.join(missing)}."
        )


def read_config(folder: Path, component: str) -> dict[str, Any]:
    """Read the configuration of a component without its weights.

    Raises:
        CheckpointError: if there is none or it is not JSON.
    """
    path = folder / component / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); save the pipeline again."
        ) from error
    return dict(config)


def outline_style_encoder(folder: Path) -> StyleEncoder:
    """Build the style encoder without weights, to check styles and their names against it.

    Raises:
        CheckpointError: if its configuration is missing or damaged.
    """
    config = read_config(folder, "style_encoder")
    with torch.device("meta"):
        encoder: StyleEncoder = StyleEncoder.from_config(config)
    return encoder


def select_device(device: str | None) -> torch.device:
    """Choose the device asked for, or the best there is.

    Raises:
        ConfigurationError: if there is no such device.
    """
    if device is None:
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator() or torch.device("cpu")
        return torch.device("cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"The device {device!r} cannot be used here ({str(error).splitlines()[0]})."
        ) from error
    return torch.device(device)


def load_pipeline(folder: Path, device: torch.device, dtype: str) -> SVPTalkingHeadPipeline:
    """Load a checkpoint's weights.

    Args:
        folder: of `find_checkpoint`.
        device: of `select_device`.
        dtype: a name of `DTYPES`.

    Raises:
        CheckpointError: if a weight file is missing or damaged.
    """
    try:
        pipeline: SVPTalkingHeadPipeline = SVPTalkingHeadPipeline.from_pretrained(
            str(folder), dtype=DTYPES[dtype]
        )
    except Exception as error:
        raise CheckpointError(f"The checkpoint {folder} cannot be loaded: {error}") from error
    if device.type == "cpu":  # where convolutions are a fifth to a half faster so
        for network in (pipeline.vae, pipeline.reference_unet, pipeline.unet):
            network.to(memory_format=torch.channels_last)
    return pipeline.to(device)


def save_checkpoint(pipeline: SVPTalkingHeadPipeline, folder: Path) -> None:
    """Save a pipeline, whole or not at all, in place of what is there.

    Raises:
        OutputError: if it cannot be written there.
    """
    with atomic_folder(folder) as temporary:
        pipeline.save_pretrained(temporary)
