"""The whole measurement, part by part, into one report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from svp_diffusers.checkpoints.loading import load_pipeline
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.evaluation.talking_head.clips import TrueClips
from svp_diffusers.evaluation.talking_head.cost import evaluate_cost
from svp_diffusers.evaluation.talking_head.diversity import evaluate_diversity
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.interpolation import evaluate_interpolation
from svp_diffusers.evaluation.talking_head.lip_sync import evaluate_lip_sync
from svp_diffusers.evaluation.talking_head.measurements import Progress, measure_clips
from svp_diffusers.evaluation.talking_head.portraits import evaluate_portraits
from svp_diffusers.evaluation.talking_head.quality import evaluate_quality
from svp_diffusers.evaluation.talking_head.reading import ExpressionReader
from svp_diffusers.evaluation.talking_head.sheets import Sheet
from svp_diffusers.evaluation.talking_head.style_recovery import (
    evaluate_style,
    read_training_styles,
)
from svp_diffusers.evaluation.talking_head.table import PartResult
from svp_diffusers.media.numbers import MOST_CLIPS, check_option, check_options
from svp_diffusers.pipelines.numbers_svp import MOST_SCALE, MOST_STEPS
from svp_diffusers.talkers.subject import LOOKS

PARTS = ("lip_sync", "style", "diversity", "interpolation", "quality", "portrait", "cost")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, on how much. More people make narrower intervals.

    Args:
        parts: some of `PARTS`.
        clips: of the test split, for lips and pictures; each is made twice.
        style_clips: of the test split, each made in every style.
        variation_clips: of the test split, for diversity (14 videos each), interpolation (6) and
            the portrait (3 of 3 frames).
        training_clips: of the train split, which define each style's expressions.
        look: of all those clips, a name of `LOOKS`; None for all looks.
        seed: of styles and noise.
        options: of the pipeline's call; what is not given is the checkpoint's own default.

    Raises:
        ConfigurationError: an unknown part, or none, or an impossible number.
    """

    parts: Sequence[str] = PARTS
    clips: int = 64
    style_clips: int = 16
    variation_clips: int = 16
    training_clips: int = 256
    look: str | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or not self.parts:
            raise ConfigurationError(f"choose parts among {', '.join(PARTS)}; got {self.parts}")
        if self.look not in (None, *LOOKS):
            raise ConfigurationError(f"look must be one of {', '.join(LOOKS)}; got {self.look!r}")
        check_options(seed=self.seed)
        for name in ("clips", "style_clips", "variation_clips", "training_clips"):
            check_option(name, getattr(self, name), 1, MOST_CLIPS, whole=True)
        for name, value in self.options.items():
            least, most = (1, MOST_STEPS) if name == "num_inference_steps" else (0, MOST_SCALE)
            check_option(name, value, least, most)


@dataclass(frozen=True)
class Report:
    """Results by part, pictures by name, the settings, and the sampling options."""

    results: dict[str, PartResult]
    pictures: dict[str, Image.Image]
    settings: EvaluationSettings
    sampling: dict[str, Any]


def evaluate_checkpoint(
    checkpoint: Path,
    data: str,
    reader: ExpressionReader,
    settings: EvaluationSettings,
    device: torch.device,
    dtype: str,
    on_progress: Progress = lambda task, done, total: None,
) -> Report:
    """Measure a checkpoint on the test split of procedural talkers.

    Args:
        checkpoint: folder of a pipeline whose style bank has the emotions of the clips.
        data: dataset with pictures and references; of its train split only styles are learned.
        reader: on the device; training must not have seen it.
        settings: what is measured.
        device: to run on.
        dtype: of the weights, a name of `DTYPES`.
        on_progress: called at every clip.

    Raises:
        DatasetError: clips that are too few, or lack their truth.
        CheckpointError: a checkpoint that cannot be loaded, or wants other keypoints.
        StyleError: a style bank without an emotion of the clips.
    """
    clip = TrueClips(data, "test", 1, settings.look)[0]
    sampler = Sampler(load_pipeline(checkpoint, device, dtype), settings.options)
    report = evaluate_videos(sampler, data, reader, settings, on_progress)
    if "cost" in settings.parts:
        cost = evaluate_cost(checkpoint, clip, settings.options, device, dtype)
        on_progress("cost", 1, 1)
        return replace(report, results=report.results | {"cost": cost})
    return report


def evaluate_videos(
    sampler: Sampler,
    data: str,
    reader: ExpressionReader,
    settings: EvaluationSettings,
    on_progress: Progress,
) -> Report:
    """Measure everything but the cost; see `evaluate_checkpoint`."""
    parts, seed = set(settings.parts), settings.seed
    look = settings.look
    clips = TrueClips(data, "test", settings.clips, look)
    style_clips = TrueClips(data, "test", settings.style_clips, look)
    variation_clips = TrueClips(data, "test", settings.variation_clips, look)
    training_clips = TrueClips(data, "train", settings.training_clips, look)
    for emotion in sorted({*clips.emotions, *training_clips.emotions}):
        sampler.get_style(emotion)

    results: dict[str, PartResult] = {}
    pictures: dict[str, Image.Image] = {}
    if parts & {"lip_sync", "style", "quality"}:
        sheet = Sheet()
        measured = measure_clips(sampler, reader, clips, seed, sheet, on_progress)
        pictures["samples"] = sheet.draw()
    if parts & {"style", "interpolation"}:
        training = read_training_styles(sampler, reader, training_clips, on_progress)
    if "lip_sync" in parts:
        results["lip_sync"] = evaluate_lip_sync(measured, reader)
    if "style" in parts:
        results["style"], pictures["styles"] = evaluate_style(
            sampler, reader, style_clips, measured, training, seed, on_progress
        )
    if "diversity" in parts:
        results["diversity"] = evaluate_diversity(
            sampler, reader, variation_clips, seed, on_progress
        )
    if "interpolation" in parts:
        results["interpolation"] = evaluate_interpolation(
            sampler, reader, variation_clips, training, seed, on_progress
        )
    if "quality" in parts:
        results["quality"] = evaluate_quality(measured)
    if "portrait" in parts:
        results["portrait"] = evaluate_portraits(sampler, variation_clips, seed, on_progress)
    return Report(results, pictures, settings, sampler.sampling)
