"""The published V-Express weights to our components.

V-Express is the architecture SVP builds on. Its weights are of its own licence, non-commercial; a
converted checkpoint stays under it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoFeatureExtractor, AutoModel

from svp_diffusers.checkpoints.scheduler import default_scheduler
from svp_diffusers.conversion.assembly import load_part
from svp_diffusers.conversion.configs import find_unet_config
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.published import Published
from svp_diffusers.conversion.state_dicts import StateDict, load_exactly, read_weights, rename
from svp_diffusers.conversion.unets import load_reference_unet, load_temporal_unet
from svp_diffusers.conversion.writing import build_style_encoder, write_checkpoint
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

PUBLISHED = Published(
    "tk93/V-Express",
    "e55df13a7cc9dd7489440daa6f67a8802a0c2860",
    {
        "denoising_unet": "denoising_unet.bin",
        "motion_module": "motion_module.bin",
        "reference_net": "reference_net.bin",
        "kps_guider": "v_kps_guider.bin",
        "audio_projection": "audio_projection.bin",
    },
    "V-Express's own, for research only; CreativeML OpenRAIL-M's use restrictions (Stable "
    "Diffusion, which it grew out of). VAE and audio encoder come from repositories of their own.",
)

_LEGACY_AUDIO = re.compile(r"^(.*\.attn2)\.processor\.to_(q|k|v|out)_aud\.(weight|bias)$")


@dataclass(frozen=True)
class VExpressFiles:
    """The published files of V-Express.

    Attributes:
        denoising_unet: `denoising_unet.bin`.
        reference_net: `reference_net.bin`.
        kps_guider: `v_kps_guider.bin`.
        audio_projection: `audio_projection.bin`.
        vae: folder or Hub id of the VAE.
        audio_encoder: folder or Hub id of wav2vec 2.0.
        motion_module: `motion_module.bin`, if the motion modules are not in `denoising_unet`.
        sd_config: the configuration of another 2-D UNet than Stable Diffusion 1.5's, or a folder
            that has it.
        motion_heads: attention heads of the motion modules.
        dim_head: size of an attention head of the audio projection.
    """

    denoising_unet: Path
    reference_net: Path
    kps_guider: Path
    audio_projection: Path
    vae: str
    audio_encoder: str
    motion_module: Path | None = None
    sd_config: Path | None = None
    motion_heads: int = 8
    dim_head: int = 64


def write_v_express(
    files: VExpressFiles, output: Path, card: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write a whole checkpoint; see `write_checkpoint`.

    Args:
        files: the published files.
        output: folder of the checkpoint, which appears when it is complete.
        card: the text of its README.md.
        dtype: of the weights.

    Raises:
        CheckpointError: if a file is missing, damaged or does not fit.
        OutputError: if the folder cannot be written.
    """
    config = find_unet_config(files.sd_config)
    projector = convert_audio_projector(
        read_weights(files.audio_projection), files.dim_head, str(files.audio_projection)
    )
    expected = projector.config.embed_dim

    def load_audio_encoder() -> Any:
        encoder = load_part(AutoModel, files.audio_encoder)
        if encoder.config.hidden_size != expected:
            raise CheckpointError(
                f"The audio encoder {files.audio_encoder} gives {encoder.config.hidden_size} "
                f"numbers, the audio projector takes {expected}: give the encoder that it was "
                "trained with."
            )
        return encoder

    write_checkpoint(
        output,
        {
            "head_guider": lambda: convert_head_guider(
                read_weights(files.kps_guider), str(files.kps_guider)
            ),
            "audio_projector": lambda: projector,
            "audio_encoder": load_audio_encoder,
            "feature_extractor": lambda: load_part(AutoFeatureExtractor, files.audio_encoder),
            "style_encoder": lambda: build_style_encoder(expected, "wav2vec2"),
            "scheduler": default_scheduler,
        },
        files.vae,
        {
            "reference_unet": lambda: convert_reference_unet(
                read_weights(files.reference_net), config, str(files.reference_net), None
            ),
            "unet": lambda: convert_temporal_unet(
                read_weights(files.denoising_unet),
                config,
                None if files.motion_module is None else read_weights(files.motion_module),
                files.motion_heads,
                source=str(files.denoising_unet),
                dtype=None,
            ),
        },
        card,
        dtype,
    )


def convert_audio_projector(
    weights: StateDict, dim_head: int = 64, source: str = "the audio projection"
) -> AudioProjector:
    """Convert `audio_projection.bin`; every size but `dim_head` is read off the weights.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    for key in ("latents", "pos_emb.weight", "proj_out.weight", "layers.0.0.to_q.weight"):
        if key not in weights:
            raise CheckpointError(f"{source} has no {key}: it is not an audio projection.")
    window, embed_dim = weights["pos_emb.weight"].shape
    depth = len({key.split(".")[1] for key in weights if key.startswith("layers.")})
    model = AudioProjector(
        embed_dim=embed_dim,
        output_dim=weights["proj_out.weight"].shape[0],
        hidden_dim=weights["latents"].shape[-1],
        depth=depth,
        dim_head=dim_head,
        heads=weights["layers.0.0.to_q.weight"].shape[0] // dim_head,
        num_queries=weights["latents"].shape[1],
        num_pad_frames=(window // 2 - 1) // 2,
    )
    separate: StateDict = {}
    for key, value in weights.items():
        if key.endswith(".0.to_kv.weight"):
            to_k, to_v = value.chunk(2)
            separate[key.replace("to_kv", "to_k")], separate[key.replace("to_kv", "to_v")] = (
                to_k,
                to_v,
            )
        else:
            separate[key] = value
    load_exactly(model, rename(separate, _projector_key, source), source)
    return model


def _projector_key(key: str) -> str:
    if key == "pos_emb.weight":
        return "position_embedding.weight"
    for pattern, replacement in (
        (r"^(layers\.\d+)\.0\.norm1\.", r"\1.ln0."),
        (r"^(layers\.\d+)\.0\.norm2\.", r"\1.ln1."),
        (r"^(layers\.\d+)\.0\.to_(q|k|v)\.", r"\1.attn.to_\2."),
        (r"^(layers\.\d+)\.0\.to_out\.", r"\1.attn.to_out.0."),
        (r"^(layers\.\d+)\.1\.0\.", r"\1.ff.0."),
        (r"^(layers\.\d+)\.1\.1\.", r"\1.ff.1.net.0.proj."),
        (r"^(layers\.\d+)\.1\.3\.", r"\1.ff.1.net.2."),
    ):
        key = re.sub(pattern, replacement, key)
    return f"resampler.{key}"


def convert_reference_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    source: str = "the reference net",
    dtype: torch.dtype | None = torch.float32,
) -> ReferenceUNet:
    """Convert `reference_net.bin`; its output layers, which nothing reads, are left behind.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_reference_unet(weights, unet_config, source, dtype)


def convert_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    motion_weights: StateDict | None = None,
    motion_num_attention_heads: int = 8,
    style_dim: int = 128,
    source: str = "the denoising UNet",
    dtype: torch.dtype | None = torch.float32,
) -> TemporalUNet:
    """Convert `denoising_unet.bin` with its motion modules, from inside it or a file of their own.

    The style attention, which V-Express does not have, starts with a zero output projection, so
    the prediction is V-Express's whatever the style is.

    Args:
        weights: of `denoising_unet.bin`; the legacy naming of the audio attention is understood.
        unet_config: of Stable Diffusion 1.5's UNet.
        motion_weights: of `motion_module.bin`; they win over motion modules inside `weights`.
        motion_num_attention_heads: 8 as published.
        style_dim: size of a style vector.
        source: for messages.
        dtype: of the net; None leaves every weight as it is stored.

    Raises:
        CheckpointError: if the keys do not fit, or there are no motion modules in either file.
    """
    return load_temporal_unet(
        _current_audio_attention(weights),
        unet_config,
        source,
        motion_weights,
        new_name=_reference_key,
        dtype=dtype,
        motion_num_attention_heads=motion_num_attention_heads,
        style_dim=style_dim,
    )


def _reference_key(key: str) -> str:
    return key.replace(".attn1_5.", ".attn_reference.").replace(".norm1_5.", ".norm_reference.")


def _current_audio_attention(weights: StateDict) -> dict[str, torch.Tensor]:
    """Bring the legacy layout, audio weights on the processor of `attn2`, into the current one."""
    current = dict(weights)
    for key in weights:
        if match := _LEGACY_AUDIO.match(key):
            layer = "to_out.0" if match[2] == "out" else f"to_{match[2]}"
            # The text attention that the audio weights stood beside was never run.
            current[f"{match[1]}.{layer}.{match[3]}"] = current.pop(key)
    return current
