"""Finding and loading style adapters: a folder, or a repository on the Hub."""

from pathlib import Path

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.errors import CheckpointError
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_adapter_svp import (
    StyleAdapterError,
    find_style_adapter,
    read_adapter_config,
)


def find_adapter(source: str | Path) -> Path:
    """Give the folder of a style adapter; no weight is loaded.

    Args:
        source: a folder, or the id of a repository on the Hub, which is downloaded to the cache.

    Raises:
        CheckpointError: if it cannot be found, or lacks a part.
    """
    try:
        folder = find_style_adapter(source)
        read_adapter_config(folder)
    except StyleAdapterError as error:
        raise CheckpointError(str(error)) from error
    read_config(folder, "style_encoder")
    return folder


def load_adapter(pipeline: SVPTalkingHeadPipeline, folder: Path) -> None:
    """Load a style adapter of `find_adapter`.

    Args:
        pipeline: of the checkpoint that it was trained on.
        folder: of the adapter.

    Raises:
        CheckpointError: if it is damaged, or of another checkpoint.
    """
    try:
        pipeline.load_style_adapter(folder)
    except StyleAdapterError as error:
        raise CheckpointError(str(error)) from error
