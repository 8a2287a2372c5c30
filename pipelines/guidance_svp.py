"""Guidance: which predictions a step needs, and how they are weighed.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class GuidancePass:
    """One evaluation of the UNet: its weight in the guided prediction, and its conditions."""

    weight: float
    portrait: bool
    audio: bool
    style: bool


def plan_guidance(
    guidance_scale: float, audio_guidance_scale: float | None, style_guidance_scale: float | None
) -> list[GuidancePass]:
    """Say which predictions guidance needs, and their weights; one of weight 0 is left out.

    Conditions are added one after another, first those under `guidance_scale`, then audio and style
    where they have a scale of their own; each step is amplified by its scale:
    `p0 + g1 * (p1 - p0) + g2 * (p2 - p1) + ...`. (Composition: our choice.)
    """
    own_audio, own_style = audio_guidance_scale is not None, style_guidance_scale is not None
    shown = [{"portrait": False, "audio": False, "style": False}]
    shown.append({"portrait": True, "audio": not own_audio, "style": not own_style})
    scales = [guidance_scale]
    if audio_guidance_scale is not None:
        shown.append({**shown[-1], "audio": True})
        scales.append(audio_guidance_scale)
    if style_guidance_scale is not None:
        shown.append({**shown[-1], "style": True})
        scales.append(style_guidance_scale)
    weights = [before - after for before, after in zip([1.0, *scales], [*scales, 0.0], strict=True)]
    return [
        GuidancePass(weight, **conditions)
        for weight, conditions in zip(weights, shown, strict=True)
        if weight != 0
    ]
