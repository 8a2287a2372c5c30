"""How good the pictures are: against truth, beside what the VAE alone loses."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.evaluation.talking_head.measurements import (
    GENERATED,
    RECONSTRUCTED,
    TRUE,
    Measurement,
)
from svp_diffusers.evaluation.talking_head.table import Aim, PartResult, Row
from svp_diffusers.measures.intervals import Estimate, estimate, estimate_mean
from svp_diffusers.measures.pictures import measure_frechet_distance

_MEASURES = {
    "psnr": "PSNR (dB)",
    "psnr_outside_mouth": "PSNR outside the mouth (dB)",
    "ssim": "SSIM",
    "ssim_outside_mouth": "SSIM outside the mouth",
}


def evaluate_quality(measured: Sequence[Measurement]) -> PartResult:
    """PSNR, SSIM, flicker and a Frechet distance, each beside the VAE's own reconstruction."""
    rows = [
        Row(
            "quality",
            label,
            generated=_average(measured, GENERATED, name),
            reconstructed=_average(measured, RECONSTRUCTED, name),
        )
        for name, label in _MEASURES.items()
    ]
    people = [clip.person for clip in measured]
    loss = [clip.pictures[RECONSTRUCTED].psnr - clip.pictures[GENERATED].psnr for clip in measured]
    rows += [
        Row(
            "quality",
            "PSNR lost beyond the VAE's reconstruction (dB)",
            generated=estimate_mean(loss, people),
            aim=Aim(high=3),
        ),
        Row(
            "quality",
            "frame-to-frame difference over the truth's",
            generated=_compare_motion(measured, GENERATED),
            reconstructed=_compare_motion(measured, RECONSTRUCTED),
            aim=Aim(0.7, 1.3),
        ),
        Row(
            "quality",
            "Frechet distance of what is read from frames",
            generated=_estimate_frechet(measured, GENERATED),
            reconstructed=_estimate_frechet(measured, RECONSTRUCTED),
        ),
    ]
    if any(clip.readings[GENERATED].found is not None for clip in measured):
        rows.append(
            Row(
                "quality",
                "share of frames in which a face is found",
                generated=_average_found(measured, GENERATED),
                reconstructed=_average_found(measured, RECONSTRUCTED),
                true=_average_found(measured, TRUE),
                aim=Aim(low=0.99),
            )
        )
    pictures = {
        clip.key: {condition: asdict(each) for condition, each in clip.pictures.items()}
        for clip in measured
    }
    return PartResult(rows, {"pictures": pictures})


def _average(measured: Sequence[Measurement], condition: str, name: str) -> Estimate | None:
    values = [getattr(clip.pictures[condition], name) for clip in measured]
    return estimate_mean(values, [clip.person for clip in measured])


def _average_found(measured: Sequence[Measurement], condition: str) -> Estimate | None:
    values = [clip.readings[condition].found or 0.0 for clip in measured]
    return estimate_mean(values, [clip.person for clip in measured], (0, 1))


def _compare_motion(measured: Sequence[Measurement], condition: str) -> Estimate:
    """Sum over sum, so that a clip that hardly moves counts for little."""
    motion = np.array([clip.pictures[condition].motion for clip in measured])
    truth = np.array([clip.pictures[TRUE].motion for clip in measured])
    return estimate(
        lambda rows: float(motion[rows].sum() / truth[rows].sum()),
        [clip.person for clip in measured],
        (0, math.inf),
    )


def _estimate_frechet(measured: Sequence[Measurement], condition: str) -> Estimate:
    features = [clip.readings[condition].features for clip in measured]
    truths = [clip.readings[TRUE].features for clip in measured]

    def measure(rows: NDArray[np.int64]) -> float:
        return measure_frechet_distance(
            np.concatenate([features[row] for row in rows]),
            np.concatenate([truths[row] for row in rows]),
        )

    return estimate(measure, [clip.person for clip in measured], (0, math.inf))
