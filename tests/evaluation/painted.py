"""Talkers that are read off exactly: each frame has a grey square for each coefficient.

A frame is 64 x 64 pixels, 8 x 8 squares of which the first 52 are the ARKit coefficients. Speech is
the jaw's opening itself, one value held for each frame.
"""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from svp_diffusers.data.clips import ClipSample, encode_clip
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.evaluation.talking_head.clips import TrueClip
from svp_diffusers.evaluation.talking_head.generation import StillHead
from svp_diffusers.evaluation.talking_head.reading import EncoderReader, ExpressionReader
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.models.style_encoder_svp import StyleDistribution

FRAMES = 20
SAMPLES = 640  # a frame
EMOTIONS = {
    "neutral": {},
    "happy": {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "cheekSquintLeft": 0.3},
    "sad": {"browInnerUp": 0.5, "mouthFrownLeft": 0.4},
}


def offset(emotion: str) -> np.ndarray:
    """What an emotion adds to a resting face of 0.3, (52,)."""
    return np.array([EMOTIONS[emotion].get(name, 0.0) for name in ARKIT_BLENDSHAPES])


def paint(expression: np.ndarray) -> np.ndarray:
    """Frames (f, 64, 64, 3) of coefficients (f, 52)."""
    squares = np.zeros((len(expression), 64))
    squares[:, :52] = expression
    grey = np.round(255 * squares.clip(0, 1)).astype(np.uint8).reshape(-1, 8, 8)
    return np.repeat(np.repeat(grey, 8, 1), 8, 2)[..., None].repeat(3, -1)


def express(waveform: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Coefficients (f, 52): the lips follow the sound, the rest the style."""
    jaw = waveform[SAMPLES // 2 :: SAMPLES]
    expression = 0.3 + np.repeat(style[None], len(jaw), 0)
    for name, follow in (("jawOpen", 1.0), ("mouthPucker", -0.5), ("mouthStretchLeft", 0.5)):
        expression[:, ARKIT_BLENDSHAPES.index(name)] += follow * (jaw - 0.25)
    return expression


def make_clip(number: int, split: str = "test", frames: int = FRAMES) -> ClipSample:
    emotion = list(EMOTIONS)[number % len(EMOTIONS)]
    random = np.random.default_rng(number + 1000 * (split == "train"))
    waveform = random.uniform(0, 0.5, frames).repeat(SAMPLES).astype(np.float32)
    habit = 0.02 * random.normal(size=52)
    expression = express(waveform, offset(emotion) + habit)
    keypoints = np.ones((frames, 8, 2), dtype=np.float32)
    keypoints[:, 6:] = (20, 20), (44, 20)
    return ClipSample(
        key=f"{split}-{number}",
        fps=Fraction(25),
        waveform=waveform,
        metadata={"split": split, "identity": f"person-{number}", "emotion": emotion},
        frames=paint(expression),
        head_keypoints=keypoints,
        expression=expression.astype(np.float32),
        expression_space="arkit52",
        reference=paint(expression[:1])[0],
    )


def write_dataset(
    folder: Path, test_clips: int = 12, training_clips: int = 18, frames: int = FRAMES
) -> Path:
    with ShardWriter(folder) as writer:
        for split, number in (("train", training_clips), ("test", test_clips)):
            for index in range(number):
                writer.write(encode_clip(make_clip(index, split, frames)))
    return folder


class SquareEncoder(nn.Module):
    """Reads the squares: exact but for rounding and JPEG."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(coefficient_names=list(ARKIT_BLENDSHAPES))
        self.pool = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
        self.last = nn.Linear(64, 52)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.bias.fill_(0.5)
            self.last.weight[:, :52] = 0.5 * torch.eye(52)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.last(self.pool(pixels.mean(1, keepdim=True)))


class Painter:
    """Stands in for a sampler: a model that does exactly so much of its job.

    late: frames by which the lips follow the sound; effect: share of a style that is shown;
    noise: deviation that the seed adds to the face; drawn: deviation of each style's coefficients.
    """

    def __init__(self, late: int = 0, effect: float = 1.0, noise: float = 0, drawn: float = 0):
        self.late, self.effect, self.noise, self.drawn = late, effect, noise, drawn
        prior = StyleDistribution(torch.zeros(52), torch.full((52,), 2.0 * drawn))
        encoder = SimpleNamespace(prior=lambda: prior)
        self.pipeline = SimpleNamespace(style_encoder=encoder, can_find_heads=True)
        self.sampling = {"num_inference_steps": 4}
        self.videos = 0

    def get_style(self, name: str) -> StyleDistribution:
        mean = torch.from_numpy(offset(name))
        return StyleDistribution(mean, torch.full_like(mean, self.drawn))

    def generate(
        self,
        clip: TrueClip,
        style: str | torch.Tensor,
        seed: int,
        waveform: np.ndarray | None = None,
        temperature: float | None = None,
    ) -> np.ndarray:
        self.videos += 1
        vector = self.get_style(style).mean if isinstance(style, str) else style
        random = np.random.default_rng(seed)
        vector = self.effect * vector.numpy() + self.noise * random.normal(size=52)
        sound = clip.waveform if waveform is None else waveform
        return paint(express(np.roll(sound, self.late * SAMPLES), vector))

    def generate_still(self, clip: TrueClip, keypoints: str, seed: int) -> StillHead:
        spoilt = np.uint8({"true": 0, "found": 1, "none": 16}[keypoints])
        return StillHead(clip.reference ^ spoilt, clip.reference, clip.head_keypoints[0])

    def reconstruct(self, frames: np.ndarray) -> np.ndarray:
        return frames


def square_reader() -> ExpressionReader:
    return EncoderReader(SquareEncoder())
