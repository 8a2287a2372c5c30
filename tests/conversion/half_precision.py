"""Videos of a checkpoint in half precision, against the one in float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svp_diffusers.checkpoints.loading import load_pipeline

LEAST_PSNR = 35.0  # dB; H.264 loses more

MakeVideo = Callable[[str, int], torch.Tensor]
"""Frames in [0, 1] made in a dtype in so many steps, of the same noise every time."""


def check_half_precision(make: MakeVideo, steps_in_bfloat16: int = 2) -> None:
    """Check that a checkpoint's video is the same in half precision, and holds numbers.

    Guidance makes much of what bfloat16 rounds off of random weights, and steps average it out: a
    checkpoint that is beyond what is lost in 2 steps is given 20, below its own 25 to 40.
    """
    for dtype, steps in (("float16", 2), ("bfloat16", steps_in_bfloat16)):
        expected, frames = make("float32", steps), make(dtype, steps)
        assert expected.std() > 0.05
        assert frames.isfinite().all(), dtype
        error = float((frames - expected).square().mean())
        psnr = -10 * np.log10(error)
        assert psnr >= LEAST_PSNR, f"{psnr:.1f} dB in {dtype}"


def perform(folder: Path, **options: Any) -> MakeVideo:
    """Make videos, frames (4, 3, 128, 128), of noise that speaks noise.

    `options` are of the pipeline's call.
    """

    def make(dtype: str, steps: int) -> torch.Tensor:
        pipeline = load_pipeline(folder, torch.device("cpu"), dtype)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        frames: torch.Tensor = pipeline(
            torch.rand(3, 128, 128, generator=generator),
            0.1 * torch.randn(2560, generator=generator),
            find_face=False,
            height=128,
            width=128,
            num_inference_steps=steps,
            generator=generator,
            output_type="pt",
            **options,
        ).frames[0]
        return frames.float()

    return make
