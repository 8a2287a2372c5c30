"""Small clips with known content."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from svp_diffusers.data.clips import ClipSample

MakeClip = Callable[..., ClipSample]


@pytest.fixture
def make_clip() -> MakeClip:
    """Make a smooth random clip of `frames` frames of 32 x 32 pixels; equal seeds, equal clips."""

    def make(key: str = "a", seed: int = 0, frames: int = 5, split: str = "train") -> ClipSample:
        generator = np.random.default_rng(seed)
        shade = generator.uniform(0, 200, (frames, 1, 1, 3)) + np.arange(32).reshape(1, 32, 1, 1)
        return ClipSample(
            key=key,
            fps=Fraction(25),
            waveform=generator.uniform(-0.5, 0.5, frames * 640).astype(np.float32),
            metadata={"split": split, "speaker": f"s{seed % 2}", "emotion": "happy"},
            frames=np.broadcast_to(shade, (frames, 32, 32, 3)).astype(np.uint8),
            head_keypoints=generator.uniform(0, 32, (frames, 8, 2)).astype(np.float32),
            expression=generator.uniform(0, 1, (frames, 52)).astype(np.float32),
            expression_space="arkit52",
            reference=np.broadcast_to(255 - shade[0], (32, 32, 3)).astype(np.uint8),
        )

    return make
