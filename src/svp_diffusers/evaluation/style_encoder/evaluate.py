"""The report on a style encoder: what it separates and leaks, whether its widths are calibrated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from svp_diffusers.data.style_clips import StyleClip
from svp_diffusers.errors import DatasetError
from svp_diffusers.evaluation.style_encoder.metrics import (
    Figure,
    WindowLabels,
    correlate_width_with_spread,
    retrieve_across_recordings,
    retrieve_across_speakers,
    retrieve_within_recordings,
    tell_speakers,
)
from svp_diffusers.evaluation.style_encoder.representations import (
    Representation,
    cut_windows,
    represent_by_dynamics,
    represent_by_encoder,
    represent_by_mean,
)
from svp_diffusers.evaluation.style_encoder.samples import SampleDistances, measure_samples
from svp_diffusers.models.style_encoder_svp import StyleEncoder

MEASURES: dict[str, Callable[[Representation, WindowLabels], Figure | None]] = {
    "same style, same recording allowed (easy)": retrieve_within_recordings,
    "same style across recordings": retrieve_across_recordings,
    "same style across speakers": retrieve_across_speakers,
    "identity leakage (lower is better)": tell_speakers,
    "calibration (rank correlation)": correlate_width_with_spread,
}


@dataclass(frozen=True)
class StyleReport:
    """figures: measure -> method -> figure, None where the clips cannot tell; samples: see
    `SampleDistances`; windows, clips: how many were used."""

    figures: dict[str, dict[str, Figure | None]]
    samples: list[SampleDistances]
    windows: int
    clips: int


def evaluate_style(
    encoder: StyleEncoder, clips: Sequence[StyleClip], speakers: Sequence[str] = ()
) -> StyleReport:
    """Measure an encoder and both baselines on the same windows.

    Args:
        encoder: to be judged.
        clips: centred if the encoder wants them so; the baselines see what the encoder sees.
        speakers: whose windows are queries (default: everybody's); all clips are candidates.

    Raises:
        DatasetError: an unknown speaker, or a clip too short for two windows.
    """
    known = sorted({clip.speaker for clip in clips})
    unknown = sorted(set(speakers) - set(known))
    if unknown:
        raise DatasetError(f"no clips of {', '.join(unknown)}; there are {', '.join(known)}")
    windows = cut_windows(clips)
    speaker = np.array([clips[number].speaker for number in windows.clip])
    style = np.array([clips[number].style for number in windows.clip])
    labels = WindowLabels(windows.clip, speaker, style, np.isin(speaker, list(speakers) or known))
    methods = [
        represent_by_encoder(encoder, windows),
        represent_by_mean(windows),
        represent_by_dynamics(windows),
    ]
    figures = {
        name: {method.name: measure(method, labels) for method in methods}
        for name, measure in MEASURES.items()
    }
    return StyleReport(figures, measure_samples(encoder, clips), len(windows.clip), len(clips))


def format_report(report: StyleReport) -> str:
    """The report as Markdown tables."""
    methods = list(next(iter(report.figures.values())))
    lines = [
        f"{report.clips} clips, {report.windows} windows; [95 % interval, over speakers, or over "
        "clips where only one speaker is queried]",
        "",
        "| | " + " | ".join(methods) + " | chance | measured on |",
        "|---" * (len(methods) + 3) + "|",
    ]
    for name, row in report.figures.items():
        first = next(iter(row.values()))
        end = "- | -" if first is None else f"{first.chance:.2f} | {first.number}"
        lines.append(f"| {name} | {' | '.join(map(_format_figure, row.values()))} | {end} |")
    lines += [
        "",
        "| samples drawn from | distance to own clip | to other clips | nearest is own | clips |",
        "|---|---|---|---|---|",
    ]
    for sample in report.samples:
        lines.append(
            f"| {sample.modality} | {sample.own:.2f} | {sample.other:.2f} | {sample.nearest:.2f} "
            f"| {sample.clips} |"
        )
    return "\n".join(lines)


def _format_figure(figure: Figure | None) -> str:
    if figure is None:
        return "not measurable"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
