"""The published V-Express weights to our components.

V-Express is the architecture SVP builds on. Its weights are of its own licence, non-commercial; a
converted checkpoint stays under it.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from svp_diffusers.conversion.state_dicts import StateDict, load_exactly, rename
from svp_diffusers.conversion.unets import load_reference_unet, load_temporal_unet
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

_LEGACY_AUDIO = re.compile(r"^(.*\.attn2)\.processor\.to_(q|k|v|out)_aud\.(weight|bias)$")


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
    weights: StateDict, unet_config: Mapping[str, Any], source: str = "the reference net"
) -> ReferenceUNet:
    """Convert `reference_net.bin`; its output layers, which nothing reads, are left behind.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_reference_unet(weights, unet_config, source)


def convert_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    motion_weights: StateDict | None = None,
    motion_num_attention_heads: int = 8,
    style_dim: int = 128,
    source: str = "the denoising UNet",
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

    Raises:
        CheckpointError: if the keys do not fit, or there are no motion modules in either file.
    """
    return load_temporal_unet(
        _current_audio_attention(weights),
        unet_config,
        source,
        motion_weights,
        new_name=_reference_key,
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
