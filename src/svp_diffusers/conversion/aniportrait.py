"""AniPortrait's two UNets as the start of a model to be trained.

AniPortrait (ZJYang/AniPortrait, Apache-2.0) is Moore-AnimateAnyone trained on portraits: it is
driven by drawings of a face mesh, through a guider that our UNets have no place for, and hears
nothing. What it knows of portraits and of their motion is a start for ours, nearer than Stable
Diffusion and AnimateDiff: head guider and audio projector are new, and the attention that looked at
an embedding of the portrait learns to look at the audio.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from svp_diffusers.conversion.animate_anyone import UNetFiles, build_new, load_unets
from svp_diffusers.conversion.assembly import load_part
from svp_diffusers.conversion.configs import find_unet_config
from svp_diffusers.conversion.published import Published
from svp_diffusers.conversion.writing import build_style_encoder, write_checkpoint
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider

PUBLISHED = Published(
    "ZJYang/AniPortrait",
    "1e35ff4b88eb5b8420ddc6aa43302fededcf3d9a",
    {
        "denoising_unet": "denoising_unet.pth",
        "motion_module": "motion_module.pth",
        "reference_unet": "reference_unet.pth",
    },
    "Apache-2.0 (AniPortrait), CreativeML OpenRAIL-M's use restrictions (Stable Diffusion, which "
    "it grew out of). VAE and audio encoder come from repositories of their own.",
)
# Of the pipeline; the published inference's, but for the frame rate, which is the training's.
SETTINGS = {
    "num_inference_steps": 25,
    "guidance_scale": 3.5,
    "context_length": 16,
    "context_overlap": 4,
}


def write_aniportrait(
    files: UNetFiles, output: Path, card: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint to be trained; see `write_checkpoint`.

    Head guider and audio projector are new: before training, head and speech are not heeded as a
    talking head's must be.

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
    audio_dim = load_part(AutoConfig, files.audio_encoder).hidden_size
    write_checkpoint(
        output,
        {
            "head_guider": lambda: build_new(
                lambda: HeadKeypointGuider(config["block_out_channels"][0])
            ),
            "audio_projector": lambda: build_new(
                lambda: AudioProjector(audio_dim, config["cross_attention_dim"])
            ),
            "audio_encoder": lambda: load_part(AutoModel, files.audio_encoder),
            "feature_extractor": lambda: load_part(AutoFeatureExtractor, files.audio_encoder),
            "style_encoder": lambda: build_style_encoder(audio_dim, "wav2vec2"),
        },
        files.vae,
        load_unets(files),
        card,
        dtype,
        **SETTINGS,
    )
