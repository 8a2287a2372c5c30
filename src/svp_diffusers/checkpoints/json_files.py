"""The JSON files of a checkpoint: read and checked before any weight is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from svp_diffusers.errors import CheckpointError
from svp_diffusers.media.documents import Description, check_document, parse_json
from svp_diffusers.media.frame_rate import MAXIMUM_FPS
from svp_diffusers.media.input import check_input
from svp_diffusers.pipelines.detail_svp import MOST_DETAIL

MODEL_INDEX = "model_index.json"
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
OPTIONAL_COMPONENTS = ("face_landmarker", "head_motion", "face_projector", "image_encoder")
LIP_SYNC_COMPONENTS = (
    "vae",
    "unet",
    "audio_encoder",
    "feature_extractor",
    "audio_projector",
    "scheduler",
)


def is_lip_sync(index: Mapping[str, Any]) -> bool:
    """Whether a checkpoint, by its index, is one of `LipSyncPipeline`."""
    named = index.get("_class_name")
    return (named[-1] if isinstance(named, list) and named else named) == "LipSyncPipeline"


def list_components(index: Mapping[str, Any]) -> tuple[str, ...]:
    """The components that a checkpoint must have, by its index."""
    return LIP_SYNC_COMPONENTS if is_lip_sync(index) else COMPONENTS


def read_model_index(folder: Path) -> dict[str, Any]:
    """Read which components a checkpoint of our pipeline has, and how it is called.

    Raises:
        CheckpointError: if there is no such file, or a value in it is wrong.
    """
    path = folder / MODEL_INDEX
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {MODEL_INDEX}: give the folder of a checkpoint, made by "
            "`svp convert` or `save_pretrained`."
        )
    return _read(path, _ModelIndex)


def read_config(folder: Path, component: str) -> dict[str, Any]:
    """Read the configuration of a component without its weights.

    Raises:
        CheckpointError: if there is none, or a value in it is wrong.
    """
    return _read(folder / component / "config.json", _CONFIGURATIONS.get(component, Description))


def _read(path: Path, description: type[Description]) -> dict[str, Any]:
    try:
        content = parse_json(check_input(path).read_bytes())
        check_document(content, description)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); save the pipeline again."
        ) from error
    return dict(content)


def _check_printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("a name consists of characters that can be printed")
    return name


_Number = Annotated[int, Field(ge=1, le=10_000)]
_NumberOrZero = Annotated[int, Field(ge=0, le=10_000)]
_Dim = Annotated[int, Field(ge=1, le=2**16)]
_Scale = Annotated[float, Field(ge=0, le=1e6)]
_Limit = Annotated[float, Field(gt=0, le=1e6)]
_Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_printable)]
# The library or file of a component's class, and its name; both are None if there is none.
_Component = Annotated[list[_Name | None], Field(min_length=2, max_length=2)] | None


class _ModelIndex(Description):
    vae: _Component = None
    reference_unet: _Component = None
    unet: _Component = None
    head_guider: _Component = None
    audio_encoder: _Component = None
    feature_extractor: _Component = None
    audio_projector: _Component = None
    style_encoder: _Component = None
    scheduler: _Component = None
    face_landmarker: _Component = None
    head_motion: _Component = None
    face_projector: _Component = None
    image_encoder: _Component = None
    num_inference_steps: _Number = 25
    guidance_scale: _Scale = 3.5
    audio_guidance_scale: _Scale | None = None
    style_guidance_scale: _Scale | None = None
    shared_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    noise_limit: _Limit | None = None
    guidance_limit: _Limit | None = None
    min_portrait_psnr: _Scale = 0.0
    fps: Annotated[float, Field(ge=1, le=MAXIMUM_FPS)] = 25.0
    context_length: _Number = 24
    context_overlap: _NumberOrZero = 4
    detail_scale: Annotated[int, Field(ge=0, le=MOST_DETAIL)] = 0


class _UNet(Description):
    sample_size: Annotated[int, Field(ge=1, le=2**11)]
    motion_max_seq_length: _Number


class _HeadGuider(Description):
    keypoint_layout: _Name


class _StyleEncoder(Description):
    style_dim: _Dim
    style_names: list[_Name]
    expression_dim: _Dim = 64
    expression_space: _Name = "bfm64"
    audio_dim: _Dim = 768
    hidden_dim: _Dim = 256
    num_layers: Annotated[int, Field(ge=1, le=200)] = 3
    num_attention_heads: _Dim = 8
    min_frames: _NumberOrZero = 5
    max_frames: _Number = 256


_CONFIGURATIONS: dict[str, type[Description]] = {
    "unet": _UNet,
    "head_guider": _HeadGuider,
    "style_encoder": _StyleEncoder,
}
