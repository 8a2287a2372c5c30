"""Does one line have many performances: spread over styles, and over noise, apart."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from svp_diffusers.evaluation.talking_head.clips import TrueClips
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.measurements import Progress
from svp_diffusers.evaluation.talking_head.reading import ExpressionReader, Reading
from svp_diffusers.evaluation.talking_head.table import Aim, PartResult, Row
from svp_diffusers.measures.intervals import Estimate, estimate_mean

SAMPLES = 4  # of styles, and of noise
APART = 1_000_003  # from one seed of noise to the next, clear of the other clips' seeds


def evaluate_diversity(
    sampler: Sampler, reader: ExpressionReader, clips: TrueClips, seed: int, on_progress: Progress
) -> PartResult:
    """Perform each clip several times, changing one thing only.

    The spread is the standard deviation over the performances of every coefficient in every frame
    (root mean square over both), in ARKit units. The mean style at a fixed seed is made twice: it
    must give the same pixels.
    """
    spreads: dict[str, list[float]] = {"emotion": [], "prior": [], "noise": []}
    differences = []
    prior = sampler.pipeline.style_encoder.prior()
    for number in range(len(clips)):
        clip, own_seed = clips[number], seed + number
        emotion = sampler.get_style(clip.emotion)
        generator = torch.Generator().manual_seed(own_seed)
        for name, style in (("emotion", emotion), ("prior", prior)):
            drawn = style.to("cpu", torch.float32).sample(SAMPLES, generator=generator)
            frames = [sampler.generate(clip, each, own_seed) for each in drawn]
            spreads[name].append(measure_spread([reader.read(each) for each in frames]))
        frames = [
            sampler.generate(clip, emotion.mean, own_seed + k * APART) for k in range(SAMPLES)
        ]
        spreads["noise"].append(measure_spread([reader.read(each) for each in frames]))
        first, second = (
            sampler.generate(clip, clip.emotion, own_seed, temperature=0).astype(np.int16)
            for _ in range(2)
        )
        differences.append(int(np.abs(first - second).max()))
        on_progress("performances", number + 1, len(clips))
    largest, people = max(differences), clips.people
    return PartResult(
        [
            _row("styles drawn from the clip's emotion, fixed noise", spreads["emotion"], people),
            _row("styles drawn from the prior, fixed noise", spreads["prior"], people),
            _row("noise, fixed style", spreads["noise"], people),
            Row(
                "diversity",
                "temperature 0 and a fixed seed, twice: largest difference of a pixel (0..255)",
                generated=Estimate(largest, largest, largest, len(set(people)), len(clips)),
                aim=Aim(0, 0),
            ),
        ],
        {"spread": spreads, "samples": SAMPLES},
    )


def measure_spread(readings: Sequence[Reading]) -> float:
    """Root mean square over frames and coefficients of the unbiased standard deviation."""
    coefficients = np.stack([reading.coefficients for reading in readings])
    return float(np.sqrt(coefficients.var(axis=0, ddof=1).mean()))


def _row(measure: str, spreads: list[float], people: Sequence[str]) -> Row:
    figure = estimate_mean(spreads, people, (0, math.inf))
    return Row("diversity", f"spread over {measure}", generated=figure)
