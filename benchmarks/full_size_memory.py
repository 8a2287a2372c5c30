"""What a converted EchoMimic of full size takes: loading, and a denoising step.

Weights are random: memory and time do not depend on them. First a table of what each network holds
and what it needs beside that while it runs, followed without being computed; then, with `--run`,
the checkpoint is saved, loaded by a process of its own, and takes one step on this machine.

    python benchmarks/full_size_memory.py --size 512 --frames 12 --dtype bfloat16 --run
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import WhisperFeatureExtractor

from svp_diffusers.checkpoints.loading import DTYPES, load_pipeline
from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.conversion.configs import STABLE_DIFFUSION, temporal_unet_config
from svp_diffusers.conversion.echomimic import FACE_RECTANGLE, SETTINGS
from svp_diffusers.conversion.unets import MOTION_NORM_GROUPS
from svp_diffusers.conversion.writing import write_checkpoint
from svp_diffusers.models.audio_projector_svp import StateTokens
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.speech_states_svp import WhisperStates
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.conditions_svp import DECODE_FRAMES
from svp_diffusers.training.loop.estimate import GIB, LiveMemory, measure_peak

AUDIO_TOKENS, AUDIO_DIM = 50, 384  # of Whisper tiny


def make_vae() -> nn.Module:
    """Stable Diffusion's."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4}
    blocks |= {"up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(
        **blocks,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=256,
        scaling_factor=0.18215,
    )


def make_reference_unet() -> nn.Module:
    """EchoMimic's."""
    return ReferenceUNet(**STABLE_DIFFUSION, feature="self_attention", text_attention=False)


def make_unet() -> nn.Module:
    """EchoMimic's."""
    return TemporalUNet(
        **{
            **temporal_unet_config(STABLE_DIFFUSION),
            "cross_attention_dim": AUDIO_DIM,
            "reference_attention": "self",
            "motion_num_attention_heads": 8,
            "motion_norm_num_groups": MOTION_NORM_GROUPS,
        }
    )


def make(build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """Build a network in a dtype, without drawing its first weights twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            module = build()
        module.to_empty(device="cpu")
    finally:
        torch.set_default_dtype(before)
    return module.eval()


def draw(build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """Build a network of random weights."""
    module = make(build, dtype)
    initialise(module, torch.Generator().manual_seed(0))
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.ndim == 1 and name.endswith("weight"):  # gains of norms
            nn.init.ones_(tensor)
        elif name.endswith("pos_embed.pe"):
            nn.init.zeros_(tensor)
    return module


def follow(module: nn.Module, *inputs: torch.Tensor, **named: Any) -> tuple[float, float]:
    """GiB of a network's weights, and the most that is alive beside them in a forward pass."""
    weights = [*module.parameters(), *module.buffers()]
    held = sum(weight.numel() * weight.element_size() for weight in weights)
    with torch.no_grad(), LiveMemory() as live:
        for weight in weights:
            live.known(weight)
        module(*(live.known(each) for each in inputs), **named)
    return held / GIB, live.peak / GIB


def print_table(size: int, frames: int, dtype: torch.dtype) -> None:
    """What each network holds and needs."""
    side = size // 8
    clip = torch.empty(1, 4, frames, side, side, dtype=dtype)
    tokens = torch.empty(frames, AUDIO_TOKENS, AUDIO_DIM, dtype=dtype)
    portrait = torch.empty(1, 4, side, side, dtype=dtype)
    reference = make(make_reference_unet, dtype)
    with torch.no_grad(), LiveMemory():
        shapes = {name: each.shape for name, each in reference(portrait).items()}
    features = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    vae = make(make_vae, dtype)
    unet = make(make_unet, dtype)
    parts = torch.empty(DECODE_FRAMES, 4, side, side, dtype=dtype)
    vae.forward = vae.decode  # what `follow` calls
    rows = {
        "reference_unet": follow(reference, portrait),
        "unet, one pass": follow(
            unet,
            clip,
            torch.tensor(500),
            tokens,
            style=torch.zeros(1, 128, dtype=dtype),
            reference_features=features,
        ),
        f"vae, {DECODE_FRAMES} frames decoded": follow(vae, parts),
        "vae, 1 frame decoded": follow(vae, parts[:1]),
    }
    print(f"{size} px, {frames} frames, {dtype}:")
    print("| network | weights (GiB) | beside them (GiB) |")
    print("|---|---|---|")
    for name, (held, beside) in rows.items():
        print(f"| {name} | {held:.2f} | {beside:.2f} |")


def save(folder: Path, dtype: torch.dtype) -> None:
    """Save a checkpoint of random weights."""
    draw(make_vae, dtype).save_pretrained(folder / "vae")
    guider = {"conditioning_channels": 1, "keypoint_layout": FACE_RECTANGLE}
    write_checkpoint(
        folder / "echomimic",
        {
            "head_guider": lambda: HeadKeypointGuider(**guider),
            "audio_encoder": lambda: WhisperStates(80, AUDIO_DIM, 4, 6, 1500),
            "feature_extractor": WhisperFeatureExtractor,
            "audio_projector": StateTokens,
        },
        str(folder / "vae"),
        {
            "reference_unet": lambda: draw(make_reference_unet, dtype),
            "unet": lambda: draw(make_unet, dtype),
        },
        "random weights",
        dtype,
        **SETTINGS,
    )


def run(folder: Path, size: int, frames: int, dtype: str) -> None:
    """Load a checkpoint and take one step; print what each takes."""
    start = time.perf_counter()
    pipeline = load_pipeline(folder, torch.device("cpu"), dtype)
    loaded = time.perf_counter() - start
    resident = psutil.Process().memory_info().rss / GIB
    print(f"loaded: {loaded:.0f} s, {resident:.2f} GiB, {peak():.2f} at the peak", flush=True)
    pipeline.set_progress_bar_config(disable=True)
    start = time.perf_counter()
    pipeline(
        torch.rand(3, size, size),
        0.1 * torch.randn(round(16000 * frames / pipeline.config.fps)),
        height=size,
        width=size,
        num_inference_steps=1,
        guidance_scale=1.0,  # one pass; with guidance there are two, one after the other
        output_type="latent",
    )
    print(
        f"one step of one pass: {time.perf_counter() - start:.0f} s, {peak():.2f} GiB at the peak"
    )


def peak() -> float:
    """GiB that this process held at most."""
    return measure_peak(torch.device("cpu")) / GIB


def main() -> None:
    """Print the table; save, load and run if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--run", action="store_true", help="also load it and take a step")
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.checkpoint is not None:
        run(arguments.checkpoint, arguments.size, arguments.frames, arguments.dtype)
        return
    print_table(arguments.size, arguments.frames, DTYPES[arguments.dtype])
    if arguments.run:
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), DTYPES[arguments.dtype])
            command = [sys.executable, *sys.argv, "--checkpoint", str(Path(folder, "echomimic"))]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
