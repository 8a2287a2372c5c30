"""Guidance: which predictions a step needs, and how they are weighed.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers.models.embeddings import get_timestep_embedding

GUIDANCE_SCALES = ("guidance_scale", "audio_guidance_scale", "style_guidance_scale")
SCALE_DIM = 16  # of the embedding of one guidance scale
BATCHED_FRAMES = 12  # of all passes, which the UNet is sooner done with at once (measured on CPUs)
GUIDANCE_DIM = len(GUIDANCE_SCALES) * SCALE_DIM  # of what a distilled UNet is told


@dataclass(frozen=True)
class GuidancePass:
    """One evaluation of the UNet: its weight in the guided prediction, and its conditions.

    A UNet that guidance was distilled into is told the scales, in the order of `GUIDANCE_SCALES`.
    """

    weight: float
    portrait: bool
    audio: bool
    style: bool
    told_scales: tuple[float, float, float] | None = None


def plan_guidance(
    guidance_scale: float, audio_guidance_scale: float | None, style_guidance_scale: float | None
) -> list[GuidancePass]:
    """Say which predictions guidance needs, and their weights; one of weight 0 is left out.

    Conditions are added one after another, first those under `guidance_scale`, then audio and style
    where they have a scale of their own; each step is amplified by its scale:
    `p0 + g1 * (p1 - p0) + g2 * (p2 - p1) + ...`. (Composition: our choice.)
    """
    own_audio, own_style = audio_guidance_scale is not None, style_guidance_scale is not None
    shown = [GuidancePass(1.0, portrait=False, audio=False, style=False)]
    shown.append(GuidancePass(1.0, portrait=True, audio=not own_audio, style=not own_style))
    scales = [guidance_scale]
    if audio_guidance_scale is not None:
        shown.append(replace(shown[-1], audio=True))
        scales.append(audio_guidance_scale)
    if style_guidance_scale is not None:
        shown.append(replace(shown[-1], style=True))
        scales.append(style_guidance_scale)
    weights = [before - after for before, after in zip([1.0, *scales], [*scales, 0.0], strict=True)]
    return [
        replace(conditions, weight=weight)
        for weight, conditions in zip(weights, shown, strict=True)
        if weight != 0
    ]


def plan_distilled_guidance(
    ranges: Mapping[str, Sequence[float]],
    guidance_scale: float,
    audio_guidance_scale: float | None,
    style_guidance_scale: float | None,
) -> list[GuidancePass]:
    """The one prediction of a UNet that guidance was distilled into, which is told the scales.

    A scale that is not given is the joint one, as in `plan_guidance`; only the order differs where
    the audio alone has a scale of its own: it is always added before the style.

    Args:
        ranges: the least and the most of each scale that the UNet was trained for, by name.
        guidance_scale: on all conditions.
        audio_guidance_scale: on the audio by itself.
        style_guidance_scale: on the style by itself.

    Raises:
        ValueError: a scale is outside its range.
    """
    audio = guidance_scale if audio_guidance_scale is None else audio_guidance_scale
    style = guidance_scale if style_guidance_scale is None else style_guidance_scale
    scales = (guidance_scale, audio, style)
    check_distilled_scales(ranges, scales)
    return [GuidancePass(1.0, True, True, True, scales)]


def batch_passes(passes: Sequence[GuidancePass], num_frames: int) -> list[Sequence[GuidancePass]]:
    """Put the passes of a window of few frames together, which all show the portrait.

    Args:
        passes: of `plan_guidance`.
        num_frames: of the window.

    Returns:
        The passes that the UNet is given at once.
    """
    few = len(passes) * num_frames <= BATCHED_FRAMES
    if few and all(each.portrait for each in passes):
        return [passes]
    return [[each] for each in passes]


def limit_guidance(
    guided: torch.Tensor, conditioned: torch.Tensor, limit: float | None
) -> torch.Tensor:
    """Keep what guidance adds to a prediction within a norm, in which faces are not torn.

    As the norm threshold of adaptive projected guidance (arXiv 2410.02416), which is of a whole
    picture; that it holds at each position by itself is our choice.

    Args:
        guided: predictions (b, c, f, h, w).
        conditioned: those with all conditions, to which guidance adds.
        limit: the largest norm over the channels of a position; None for none.

    Returns:
        Predictions in the shape of `guided`.
    """
    if limit is None:
        return guided
    added = guided - conditioned
    norm = torch.linalg.vector_norm(added, dim=1, keepdim=True)
    return conditioned + added * (limit / norm.clamp(min=limit))


def check_distilled_scales(ranges: Mapping[str, Sequence[float]], scales: Sequence[float]) -> None:
    """Raise `ValueError` for a scale outside the range that a distilled UNet was trained for."""
    for name, scale in zip(GUIDANCE_SCALES, scales, strict=True):
        least, most = ranges[name]
        if not least <= scale <= most:
            wanted = f"{least:g}" if least == most else f"from {least:g} to {most:g}"
            raise ValueError(
                f"Guidance was distilled into this checkpoint, with a {name} of {wanted}: it knows "
                f"no other, got {scale:g}. (What is not given is the `guidance_scale`.)"
            )


def embed_guidance(scales: torch.Tensor) -> torch.Tensor:
    """What a distilled UNet is told of guidance scales, as diffusers' LCM UNets are of theirs.

    The waves are long, as guidance is linear in its scales. (Lengths: our choice.)

    Args:
        scales: (n, 3), in the order of `GUIDANCE_SCALES`.

    Returns:
        (n, `GUIDANCE_DIM`), the `timestep_cond` of the UNet.
    """
    waves: torch.Tensor = get_timestep_embedding(
        (scales - 1).flatten(), SCALE_DIM, scale=4, max_period=40
    )
    return waves.unflatten(0, scales.shape).flatten(1).to(scales.dtype)
