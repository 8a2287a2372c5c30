"""Training the head motion model of a checkpoint."""

from pathlib import Path

import torch

from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.head_motion_svp import EMBEDDINGS_PER_SECOND, HeadMotionModel
from svp_diffusers.training.head_motion.batches import (
    MotionBatchSampler,
    MotionCurve,
    fit_curves,
    measure_poses,
)
from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
from svp_diffusers.training.head_motion.objective import HeadMotionObjective
from svp_diffusers.training.head_motion.performances import (
    MotionClip,
    PerformanceEncoder,
    perform_clips,
    read_clips,
)
from svp_diffusers.training.loop.loop import make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder

KNOTS_PER_SECOND = 10
VALIDATION_BATCHES = 4


def train_head_motion(configuration: HeadMotionTrainingConfiguration, resume: bool = False) -> Path:
    """Train a head motion model, in one process or in many under `accelerate launch`.

    Args:
        configuration: all options.
        resume: continue from the newest checkpoint of `output_dir`, as if never interrupted.

    Returns:
        The folder `head_motion` of `output_dir`: moving average of the weights, half precision.

    Raises:
        SVPError: see `RunFolder`, `PerformanceEncoder`, `perform_clips` and `read_clips`; raised
            before any training.
    """
    run = RunFolder(configuration.output_dir, configuration, resume)
    training, held_out = (
        fit_curves(clips, KNOTS_PER_SECOND) for clips in gather_clips(configuration)
    )
    model = build_model(configuration, training)
    sampler = MotionBatchSampler(training, model, configuration)
    validation = MotionBatchSampler(held_out, model, configuration)
    objective = HeadMotionObjective(model, [validation.batch(n) for n in range(VALIDATION_BATCHES)])
    accelerator = make_accelerator(configuration)
    run.start(accelerator)
    accelerator.print(f"{len(training)} clips, {model.num_parameters():,} weights", flush=True)
    train(objective, sampler.batch, configuration, run, accelerator)
    folder = run.path / "head_motion"
    if accelerator.is_main_process:
        with atomic_folder(folder) as temporary:
            model.half().save_pretrained(temporary)
    accelerator.wait_for_everyone()
    return folder


def gather_clips(
    configuration: HeadMotionTrainingConfiguration,
) -> tuple[list[MotionClip], list[MotionClip]]:
    """Clips to train on and clips held out, of other speakers and sentences."""
    encoder = PerformanceEncoder(configuration.checkpoint)
    if configuration.data is not None:
        return (
            read_clips(encoder, configuration.data, "train"),
            read_clips(encoder, configuration.data, "validation"),
        )
    utterances, takes = configuration.utterances, configuration.takes
    seconds, seed = configuration.seconds, configuration.seed
    return (
        perform_clips(encoder, "train", utterances, takes, seconds, seed),
        perform_clips(encoder, "validation", configuration.validation_utterances, 1, seconds, seed),
    )


def build_model(
    configuration: HeadMotionTrainingConfiguration, curves: list[MotionCurve]
) -> HeadMotionModel:
    """A new model for clips like these, initial weights from the seed."""
    clip = curves[0].clip
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        return HeadMotionModel(
            audio_dim=clip.embeddings.shape[1],
            style_dim=clip.style.mean.shape[0],
            hidden_dim=configuration.hidden_dim,
            num_layers=configuration.num_layers,
            num_attention_heads=configuration.num_attention_heads,
            embeddings_per_knot=EMBEDDINGS_PER_SECOND // KNOTS_PER_SECOND,
            window=configuration.window,
            context=configuration.context,
            lookahead=configuration.lookahead,
            **measure_poses(curves),
        )
