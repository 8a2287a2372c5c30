"""Do samples of a clip's style belong to that clip?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from svp_diffusers.data.style_clips import StyleClip
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder

SAMPLES_PER_CLIP = 64


@dataclass(frozen=True)
class SampleDistances:
    """Samples of clips' styles, encoded from some `modality`, against the styles of all clips.

    own, other: mean Mahalanobis distance, per root dimension, of a sample from its own clip's
        distribution and from those of the other clips. A perfect match has 1.
    nearest: share of samples that are nearer to their own clip's distribution than to any other
    clips: how many were sampled
    """

    modality: str
    own: float
    other: float
    nearest: float
    clips: int


@torch.no_grad()
def measure_samples(encoder: StyleEncoder, clips: Sequence[StyleClip]) -> list[SampleDistances]:
    """Sample each clip's style, encoded from its expressions alone, its voice alone, and both; and
    measure the distances to the styles of all clips, encoded from all there is of them."""
    whole = [_encode(encoder, clip, clip.audio is not None, True) for clip in clips]
    mean = torch.stack([style.mean for style in whole])
    std = torch.stack([style.std for style in whole])
    ways = {"expressions alone": (False, True), "voice alone": (True, False), "both": (True, True)}
    measured = []
    for name, (hear, see) in ways.items():
        generator = torch.Generator().manual_seed(0)
        own, other, nearest = [], [], []
        for number, clip in enumerate(clips):
            if hear and clip.audio is None:
                continue
            drawn = _encode(encoder, clip, hear, see).sample(SAMPLES_PER_CLIP, 1.0, generator)
            # (samples, clips)
            distances = ((drawn[:, None] - mean) / std).square().mean(-1).sqrt()
            others = torch.cat([distances[:, :number], distances[:, number + 1 :]], dim=1)
            own.append(distances[:, number].mean())
            other.append(others.mean())
            nearest.append((distances[:, number] < others.min(dim=1).values).float().mean())
        if own:
            means = torch.stack([torch.stack(v).mean() for v in (own, other, nearest)]).tolist()
            measured.append(SampleDistances(name, means[0], means[1], means[2], len(own)))
    return measured


def _encode(encoder: StyleEncoder, clip: StyleClip, hear: bool, see: bool) -> StyleDistribution:
    expression = torch.from_numpy(clip.expressions.values)[None] if see else None
    audio = None
    if hear and clip.audio is not None:
        audio = torch.from_numpy(clip.audio)[None]
    return encoder(expression, audio)[0]
