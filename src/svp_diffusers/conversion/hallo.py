"""The published Hallo weights to our components.

Hallo and Hallo2 (fudan-generative-ai, MIT) are one architecture: the audio reaches background, face
and lips through attentions of their own, the portrait the self-attention, the face's identity the
cross-attention, and the last two frames of a clip the motion modules of the next. The facts are
those of fudan-generative-vision/hallo 8fd7c57.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

from svp_diffusers.conversion.assembly import load_part
from svp_diffusers.conversion.configs import find_unet_config
from svp_diffusers.conversion.head_guider import convert_head_guider
from svp_diffusers.conversion.published import Published
from svp_diffusers.conversion.state_dicts import StateDict, load_exactly, read_weights, rename
from svp_diffusers.conversion.unets import (
    MOTION_NORM_GROUPS,
    find_weight,
    load_reference_unet,
    load_temporal_unet,
)
from svp_diffusers.conversion.writing import write_checkpoint
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.audio_projector_svp import AudioTokenMLP
from svp_diffusers.models.face_projector_svp import FaceProjector
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.speech_states_svp import Wav2Vec2States
from svp_diffusers.models.temporal_unet_svp import REGIONS, MotionModule, TemporalUNet

PUBLISHED = Published(
    "fudan-generative-ai/hallo",
    "d09cdbe1df2e0a5852b58b7508ffe3d91363799f",
    {
        "net": "hallo/net.pth",
        "wav2vec2_config": "wav2vec/wav2vec2-base-960h/config.json",
        "wav2vec2": "wav2vec/wav2vec2-base-960h/model.safetensors",
        "wav2vec2_extractor": "wav2vec/wav2vec2-base-960h/preprocessor_config.json",
        "vae_config": "sd-vae-ft-mse/config.json",
        "vae": "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
    },
    "MIT (Hallo and the VAE), CreativeML OpenRAIL-M's use restrictions (Stable Diffusion, which it "
    "grew out of), Apache-2.0 (wav2vec 2.0). The InsightFace models in the repository are "
    "non-commercial, and are not fetched.",
)
PUBLISHED_2 = replace(
    PUBLISHED,
    repository="fudan-generative-ai/hallo2",
    revision="ba6eea56b2a4b5a4c1bd561f1b8f5e682fae926b",
    files={**PUBLISHED.files, "net": "hallo2/net.pth"},
)
# Of the pipeline; the published inference's.
SETTINGS = {
    "fps": 25.0,
    "num_inference_steps": 40,
    "guidance_scale": 3.5,
    "context_length": 16,
    "context_overlap": 0,
}
FACE_RECTANGLE = "face"  # the guider's input
PARTS = ("reference_unet", "denoising_unet", "face_locator", "imageproj", "audioproj")
CONTEXT_FRAMES = 2
_AUDIO_LAYERS = {f".attn2_{i}.": f".attn_regions.{i}." for i in range(len(REGIONS))} | {
    f".zero_conv_{name}.": f".proj_regions.{i}." for i, name in enumerate(("full", "face", "lip"))
}


@dataclass(frozen=True)
class HalloFiles:
    """The published files of Hallo or Hallo2.

    Attributes:
        net: `net.pth`.
        wav2vec2: folder or Hub id of facebook's wav2vec2-base-960h.
        vae: folder or Hub id of the VAE.
        unet_config: the configuration of another 2-D UNet than Stable Diffusion 1.5's.
        motion_heads: attention heads of the motion modules.
    """

    net: Path
    wav2vec2: str
    vae: str
    unet_config: Path | None = None
    motion_heads: int = 8


def write_hallo(
    files: HalloFiles, output: Path, card: str, dtype: torch.dtype = torch.float32
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
    config = find_unet_config(files.unet_config)
    net = str(files.net)

    def read(name: str) -> StateDict:
        """The weights of one of the five networks; the file is mapped, not read."""
        return split_parts(read_weights(files.net), net)[name]

    write_checkpoint(
        output,
        {
            "head_guider": lambda: convert_head_guider(read("face_locator"), net, FACE_RECTANGLE),
            "face_projector": lambda: convert_identity_projector(read("imageproj"), net),
            "audio_projector": lambda: convert_audio_projector(read("audioproj"), net),
            "audio_encoder": lambda: convert_wav2vec2(files.wav2vec2),
            "feature_extractor": lambda: load_part(Wav2Vec2FeatureExtractor, files.wav2vec2),
        },
        files.vae,
        {
            "reference_unet": lambda: convert_reference_unet(
                read("reference_unet"), config, net, None
            ),
            "unet": lambda: convert_temporal_unet(
                read("denoising_unet"), config, files.motion_heads, net, dtype=None
            ),
        },
        card,
        dtype,
        **SETTINGS,
    )


def split_parts(weights: StateDict, source: str = "net.pth") -> dict[str, StateDict]:
    """Divide `net.pth` into the weights of its five networks, without their prefixes.

    Raises:
        CheckpointError: if a key is of none of them, or one has no weights.
    """
    parts: dict[str, StateDict] = {name: {} for name in PARTS}
    for key, value in weights.items():
        name, _, rest = key.partition(".")
        if name not in parts:
            raise CheckpointError(f"{source} has {key}, which is of none of {', '.join(PARTS)}.")
        parts[name][rest] = value
    missing = [name for name, part in parts.items() if not part]
    if missing:
        raise CheckpointError(f"{source} lacks the weights of {', '.join(missing)}.")
    return parts


def convert_temporal_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    motion_num_attention_heads: int = 8,
    source: str = "denoising_unet",
    **options: Any,
) -> TemporalUNet:
    """Convert the denoising UNet.

    Hallo's published inference never runs the motion modules of blocks without attention: their
    output is set to zero.

    Args:
        weights: of `split_parts`; the motion modules are among them.
        unet_config: of Stable Diffusion 1.5's UNet.
        motion_num_attention_heads: 8 as published.
        source: for messages.
        options: further ones of `load_temporal_unet`, for instance `style_dim`.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    audio = find_weight(weights, "attn2_0.to_k.weight", source, "Hallo's denoising UNet")
    # The projections are convolutions of one pixel.
    linear = {
        key: value[..., 0, 0] if ".zero_conv_" in key and value.ndim == 4 else value
        for key, value in weights.items()
    }
    model = load_temporal_unet(
        linear,
        unet_config,
        source,
        new_name=_new_name,
        regional_audio_dim=audio.shape[1],
        num_context_frames=CONTEXT_FRAMES,
        reference_attention="self",
        motion_num_attention_heads=motion_num_attention_heads,
        motion_norm_num_groups=MOTION_NORM_GROUPS,
        **options,
    )
    for module in model.modules():
        if isinstance(module, MotionModule) and not module.num_context_frames:
            # New tensors: the model shares the old ones with `weights`.
            module.proj_out.weight = nn.Parameter(torch.zeros_like(module.proj_out.weight))
            module.proj_out.bias = nn.Parameter(torch.zeros_like(module.proj_out.bias))
    return model


def _new_name(key: str) -> str:
    for old, new in _AUDIO_LAYERS.items():
        key = key.replace(old, new)
    return re.sub(r"\.audio_modules\.(\d+)\.", r".attentions.\1.audio.", key)


def convert_reference_unet(
    weights: StateDict,
    unet_config: Mapping[str, Any],
    source: str = "reference_unet",
    dtype: torch.dtype | None = torch.float32,
) -> ReferenceUNet:
    """Convert the reference UNet; its text attention sees the tokens of the face.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    return load_reference_unet(weights, unet_config, source, dtype, feature="self_attention")


def convert_identity_projector(weights: StateDict, source: str = "imageproj") -> FaceProjector:
    """Convert the projection of a face embedding (ArcFace's) to tokens of the cross-attention.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    projection = find_weight(weights, "proj.weight", source, "Hallo's face projection")
    dim = len(find_weight(weights, "norm.weight", source, "Hallo's face projection"))
    model = FaceProjector(
        embed_dim=projection.shape[1], output_dim=dim, num_tokens=len(projection) // dim
    )
    named = rename(
        weights, lambda key: "projection." + re.sub(r"^proj\.", "image_embeds.", key), source
    )
    load_exactly(model, named, source)
    return model.eval()


def convert_audio_projector(weights: StateDict, source: str = "audioproj") -> AudioTokenMLP:
    """Convert the projection of a window of wav2vec 2.0 states to audio tokens.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    kind = "Hallo's audio projection"
    width = len(find_weight(weights, "norm.weight", source, kind))
    first = find_weight(weights, "proj1.weight", source, kind)
    last = find_weight(weights, "proj3.weight", source, kind)
    model = AudioTokenMLP(
        input_dim=first.shape[1],
        hidden_dim=len(first),
        output_dim=width,
        num_tokens=len(last) // width,
    )
    load_exactly(model, weights, source)
    return model.eval()


def convert_wav2vec2(source: str | Path) -> Wav2Vec2States:
    """Take facebook's wav2vec 2.0, from a folder or the Hub.

    Raises:
        CheckpointError: if it is not there, damaged, or its last layer's norm would be left out.
    """
    try:
        encoder = Wav2Vec2Model.from_pretrained(str(source))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source} has no wav2vec 2.0 model ({error}).") from error
    if encoder.config.do_stable_layer_norm:
        raise CheckpointError(f"{source} is a wav2vec 2.0 with another order of norms; use base.")
    model = Wav2Vec2States(encoder.config.to_diff_dict())
    model.encoder = encoder
    return model.eval()
