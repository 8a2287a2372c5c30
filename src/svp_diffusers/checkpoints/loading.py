"""Finding, loading and saving checkpoints: a folder, a repository on the Hub, or svp-tiny."""

import inspect
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline, ModelMixin
from huggingface_hub import snapshot_download

from svp_diffusers.checkpoints.json_files import (
    COMPONENTS,
    is_lip_sync,
    list_components,
    read_config,
    read_model_index,
)
from svp_diffusers.checkpoints.precision import PRECISIONS, check_precision
from svp_diffusers.errors import CheckpointError, ConfigurationError, OutputError
from svp_diffusers.media.output import atomic_folder, restore_folder
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.checkpoint_svp import exists
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

SVP_TINY = Path(__file__).parent / "svp_tiny"
"""The checkpoint that ships with the package, for drawn people only. See its README.md."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{,95}/[\w.-]{,95}[A-Za-z0-9]", re.ASCII)

Network = TypeVar("Network", bound=ModelMixin)


def locate(model: str | Path | None) -> str | Path:
    """What a user names as a checkpoint, wherever one is expected.

    Args:
        model: a folder, "svp-tiny" (unless a folder is called so), or the id of a repository on the
            Hub. None is svp-tiny.

    Returns:
        A folder that exists, or the id as it stands.

    Raises:
        CheckpointError: if it is neither a folder nor what the id of a repository looks like.
    """
    if not isinstance(model, (str, Path, NoneType)):
        raise CheckpointError(f"a checkpoint is named by a path or text, not by {model!r}")
    if model is None or (str(model) == "svp-tiny" and not Path(model).exists()):
        return SVP_TINY
    try:
        for folder in (Path(model), Path(model, "style_encoder")):
            restore_folder(folder)
    except OSError:  # the name is too long
        pass
    if not exists(model) and not _REPOSITORY.fullmatch(str(model)):
        raise CheckpointError(
            f"there is no folder {str(model)[:200]}; give the folder of a checkpoint, the id of a "
            "repository on the Hub (OWNER/NAME), or svp-tiny"
        )
    return model


def name_checkpoint(model: str | Path | None) -> str:
    """A name for what `locate` finds, without the place where it lies on this machine.

    The folder `pipeline` of a training run has the run's name.
    """
    located = locate(model)
    if located == SVP_TINY:
        return "svp-tiny"
    if not Path(located).exists():
        return str(located)
    folder = Path(located).resolve()
    return folder.parent.name if folder.name == "pipeline" else folder.name


def find_checkpoint(model: str | Path | None) -> Path:
    """Give the folder of a pipeline's checkpoint; no weight is loaded.

    Args:
        model: see `locate`; a repository on the Hub is downloaded to the cache.

    Raises:
        CheckpointError: if it cannot be found, or a component is missing.
    """
    folder = download_checkpoint(model, SVPTalkingHeadPipeline)
    if is_lip_sync(read_model_index(folder)):
        raise CheckpointError(
            f"{folder} is a lip-sync checkpoint, which is given a video in place of a portrait: "
            "use `svp lip-sync`."
        )
    check_components(folder)
    return folder


def download_checkpoint(model: str | Path | None, pipeline: type[DiffusionPipeline]) -> Path:
    """Give the folder of what `locate` finds; a repository is downloaded to the Hub's cache.

    Args:
        model: see `locate`.
        pipeline: whose components a repository must have; those that it has are downloaded.

    Raises:
        CheckpointError: if it cannot be had.
    """
    located = locate(model)
    if Path(located).exists():
        return Path(located)
    try:
        return Path(pipeline.download(str(located)))
    except (OSError, ValueError) as error:
        raise CheckpointError(_describe_missing(str(located), error)) from error


def _describe_missing(repository: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return (
        f"{repository} is neither a folder nor a repository that the Hub gives us ({reason}). "
        "Check the name, your connection, and, if it is private, `hf auth login`."
    )


def check_components(folder: Path) -> None:
    """Check that a folder holds a checkpoint of one of our pipelines, with every component.

    Raises:
        CheckpointError: naming what is missing.
    """
    entries = read_model_index(folder)
    missing = [
        name
        for name in list_components(entries)
        if not any(entries.get(name) or ()) or not (folder / name).is_dir()
    ]
    if missing:
        raise CheckpointError(
            f"{folder} is not a complete SVP checkpoint: it lacks {', '.join(missing)}."
        )


def has_component(folder: Path, name: str) -> bool:
    """Whether the checkpoint of a pipeline has an optional component."""
    return any(read_model_index(folder).get(name) or ())


@dataclass(frozen=True)
class CallDefaults:
    """How a checkpoint is called where nothing else is said.

    Attributes:
        fps: frames a second.
        context_length: frames denoised together.
        context_overlap: frames that windows share.
        detail_scale: how many times as large frames are, with the portrait's detail; 0 is without.
    """

    fps: Fraction
    context_length: int
    context_overlap: int
    detail_scale: int


def read_call_defaults(folder: Path) -> CallDefaults:
    """Read how a checkpoint is called, without its weights.

    Raises:
        CheckpointError: if a value is wrong.
    """
    index = read_model_index(folder)
    parameters = inspect.signature(SVPTalkingHeadPipeline.__init__).parameters
    values = {
        field.name: index.get(field.name, parameters[field.name].default)
        for field in fields(CallDefaults)
    }
    return CallDefaults(
        fps=Fraction(values["fps"]).limit_denominator(1001),
        context_length=int(values["context_length"]),
        context_overlap=int(values["context_overlap"]),
        detail_scale=int(values["detail_scale"]),
    )


def outline_style_encoder(checkpoint: str | Path | None) -> StyleEncoder:
    """Build the style encoder without weights, to check styles and their names against it.

    Args:
        checkpoint: as `load_style_encoder` takes it.

    Raises:
        CheckpointError: if there is none, or its configuration is missing or damaged.
    """
    folder = _find_component(checkpoint, "style_encoder")
    config = read_config(folder, "style_encoder" if (folder / "style_encoder").is_dir() else "")
    with torch.device("meta"):
        try:
            encoder: StyleEncoder = StyleEncoder.from_config(config)
        except Exception as error:  # of whatever layer the numbers do not fit
            raise CheckpointError(
                f"{folder / 'style_encoder'} is configured as no style encoder can be: {error}"
            ) from error
    return encoder


def select_device(device: str | None) -> torch.device:
    """Choose the requested device, or the best available.

    Raises:
        ConfigurationError: if there is no such device.
    """
    if device is None:
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator() or torch.device("cpu")
        return torch.device("cpu")
    try:
        torch.ones((), device=device).item()  # which the device "meta" has no values for
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
        dtype: of `PRECISIONS`; the weights of "mixed" are float32. What is computed once a video
            stays float32 where half precision would spoil it: the audio encoder, whose embeddings
            it may change by a quarter, and with float16 the reference UNet, whose activations are
            beyond what float16 holds.

    Raises:
        ConfigurationError: if there is no such dtype.
        CheckpointError: if a weight file is missing or damaged.
    """
    check_precision(dtype)
    dtypes = {"default": PRECISIONS[dtype], "audio_encoder": torch.float32}
    if dtype == "float16":
        dtypes["reference_unet"] = torch.float32
    try:
        pipeline: SVPTalkingHeadPipeline = SVPTalkingHeadPipeline.from_pretrained(
            str(folder), dtype=dtypes
        )
    except Exception as error:
        raise CheckpointError(f"The checkpoint {folder} cannot be loaded: {error}") from error
    if device.type == "cpu":  # where convolutions are a fifth to a half faster so
        for name in ("vae", "reference_unet", "head_guider", "unet"):
            getattr(pipeline, name).to(memory_format=torch.channels_last)
    # diffusers would warn that no network runs in float16 on a CPU; all of ours do.
    return pipeline.to(device, silence_dtype_warnings=True)


def save_checkpoint(pipeline: SVPTalkingHeadPipeline, folder: Path) -> None:
    """Save a pipeline, whole or not at all, in place of what is there.

    Raises:
        OutputError: if it cannot be written there.
    """
    with atomic_folder(folder) as temporary:
        pipeline.save_pretrained(temporary)


def load_style_encoder(checkpoint: str | Path | None) -> StyleEncoder:
    """Load a style encoder, in float32: a pipeline's, or one that is saved by itself.

    Args:
        checkpoint: see `locate`.

    Raises:
        CheckpointError: if there is none, or its weights are not those of the model.
    """
    located = _find_component(checkpoint, "style_encoder")
    subfolder = "style_encoder" if (located / "style_encoder").is_dir() else None
    try:
        encoder, info = StyleEncoder.from_pretrained(
            str(located), subfolder=subfolder, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{located} holds no style encoder: {error}") from error
    check_weights(info, located, "style encoder")
    loaded: StyleEncoder = encoder.float().eval()
    return loaded


def load_network(network: type[Network], folder: str | Path, kind: str) -> Network:
    """Load a network that is saved by itself in a folder here, in float32, to be used.

    Args:
        network: its class.
        folder: of its configuration and weights.
        kind: of network, for the message.

    Raises:
        CheckpointError: if there is none, or its weights are not those of the network.
    """
    if not exists(Path(folder) / "config.json"):
        raise CheckpointError(
            f"{str(folder)[:200]} holds no {kind}: it is no folder with a config.json"
        )
    try:
        loaded, info = network.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no {kind}: {error}") from error
    check_weights(info, folder, kind)
    ready: Network = loaded.eval()
    return ready


def check_weights(info: Mapping[str, Sequence[Any]], where: str | Path, kind: str) -> None:
    """Check that a model was loaded with all its weights, and no others.

    Args:
        info: of `from_pretrained(..., output_loading_info=True)`.
        where: it was loaded from, for the message.
        kind: of model, for the message.

    Raises:
        CheckpointError: if not, with the number and the first of those that differ.
    """
    wrong = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    if wrong:
        raise CheckpointError(
            f"{where} holds no complete {kind}: {len(wrong)} weights are missing or unknown, "
            f"first {wrong[0]}"
        )


def find_audio_encoder(checkpoint: str | Path | None) -> str | None:
    """The checkpoint, located, if it is a pipeline's with an audio encoder of its own."""
    located = _find_component(checkpoint, "audio_encoder")
    return str(located) if (located / "audio_encoder").is_dir() else None


def _find_component(checkpoint: str | Path | None, name: str) -> Path:
    """The folder of a checkpoint; of one on the Hub, only a component and a model alone are there.

    Raises:
        CheckpointError: if there is none.
    """
    located = locate(checkpoint)
    if Path(located).exists():
        return Path(located)
    parts = ["config.json", "*.safetensors", f"{name}/*", "feature_extractor/*"]
    ignored = [f"{other}/*" for other in COMPONENTS if f"{other}/*" not in parts]
    try:  # asked once, where a model would be asked for each file, and again and again
        return Path(snapshot_download(str(located), allow_patterns=parts, ignore_patterns=ignored))
    except (OSError, ValueError) as error:
        raise CheckpointError(_describe_missing(str(located), error)) from error


def check_changeable(checkpoint: str | Path | None) -> Path:
    """The folder of a checkpoint that may be changed.

    Raises:
        CheckpointError: it is no folder here.
        OutputError: it is svp-tiny, a part of the package.
    """
    folder = Path(locate(checkpoint))
    if not folder.is_dir():
        raise CheckpointError(
            f"{checkpoint} is no folder here; pull the checkpoint, and change that"
        )
    if folder.resolve() == SVP_TINY.resolve():
        raise OutputError(
            "svp-tiny is a part of this package: change a copy (`svp pull svp-tiny -o FOLDER`), "
            "and name that (--model FOLDER)"
        )
    return folder


def save_style_encoder(encoder: StyleEncoder, checkpoint: str | Path) -> None:
    """Write an encoder back to the local folder where `load_style_encoder` found it.

    Its files are replaced together; others in the folder stay.

    Raises:
        OutputError: if it cannot be written, or the checkpoint is svp-tiny, a part of the package.
    """
    folder = check_changeable(checkpoint)
    if (folder / "style_encoder").is_dir():
        folder = folder / "style_encoder"
    with atomic_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        encoder.save_pretrained(temporary)
        config = read_config(temporary, "")
        config.pop("_name_or_path", None)  # the place it was loaded from is nobody's business
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (temporary / "config.json").write_text(text, encoding="utf-8")
