"""Videos of a checkpoint in half precision, against the one in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from svp_diffusers.checkpoints.loading import load_pipeline

LEAST_PSNR = 35.0  # dB; H.264 loses more


def check_half_precision(
    folder: Path, least_in_bfloat16: float = LEAST_PSNR, **options: Any
) -> None:
    """Check that a checkpoint's video is the same in half precision, and holds numbers.

    `options` are of the pipeline's call.
    """
    options = {"num_inference_steps": 2, **options}
    expected = _make_a_video(folder, "float32", options)
    assert expected.std() > 0.05
    for dtype, least in (("float16", LEAST_PSNR), ("bfloat16", least_in_bfloat16)):
        frames = _make_a_video(folder, dtype, options)
        assert frames.isfinite().all(), dtype
        error = float((frames - expected).square().mean())
        psnr = -10 * np.log10(error)
        assert psnr >= least, f"{psnr:.1f} dB in {dtype}"


def _make_a_video(folder: Path, dtype: str, options: dict[str, Any]) -> torch.Tensor:
    """Frames (4, 3, 128, 128) of noise that speaks noise, the same every time."""
    pipeline = load_pipeline(folder, torch.device("cpu"), dtype)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    frames: torch.Tensor = pipeline(
        torch.rand(3, 128, 128, generator=generator),
        0.1 * torch.randn(2560, generator=generator),
        find_face=False,
        height=128,
        width=128,
        generator=generator,
        output_type="pt",
        **options,
    ).frames[0]
    return frames
