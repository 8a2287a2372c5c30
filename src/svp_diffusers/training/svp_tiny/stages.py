"""svp-tiny from nothing: data, encoders, style prior and images, each a stage of its own.

Every stage is the command that a user would type, run with a YAML file that lies beside its result.
A stage whose result is there is done; an interrupted one is resumed.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

from svp_diffusers.checkpoints.loading import save_checkpoint, select_device
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import INDEX_NAME
from svp_diffusers.data.style_clips import StyleClip, read_style_clips
from svp_diffusers.errors import SVPError
from svp_diffusers.media.numbers import check_option, check_options
from svp_diffusers.media.output import atomic_path, check_output
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.speech.features import load_audio_features
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
from svp_diffusers.training.loop.configuration import LoopConfiguration
from svp_diffusers.training.loop.yaml_file import load_configuration, save_configuration
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
from svp_diffusers.training.style.stage import fill_style_bank
from svp_diffusers.training.svp_tiny.assembly import assemble_svp_tiny
from svp_diffusers.training.svp_tiny.plan import (
    CLIP_SECONDS,
    CPU,
    GPU,
    PICTURES_PER_SECOND,
    TinyPlan,
    measure_step,
    plan_tiny,
)
from svp_diffusers.training.svp_tiny.stage_runner import Stage, run_stages
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration

IN_MEMORY = ("audio", "expression", "style", "head-motion")
"""Trainings that hold their data, which processes that prepare batches would all have to copy."""

CLIP_FPS = 25
LATENT_CHANNELS = 12

BANK_SPEAKERS = 4
"""Speakers whose own styles are in the bank, beside the emotions over all speakers."""

MOST_MINUTES = 60 * 24 * 365


def train_tiny(
    output: Path, minutes: float, seed: int, workers: int, report: Callable[[str], None]
) -> Path:
    """Make svp-tiny, or resume an interrupted run.

    Args:
        output: folder of all stages. If it holds a plan, that is followed.
        minutes: how long it may take, about; the plan is made from it.
        seed: of everything.
        workers: processes that draw.
        report: called with each stage as it begins.

    Returns:
        The folder `svp-tiny` of `output`, a pipeline stored in half precision.

    Raises:
        ConfigurationError: too few minutes.
        SVPError: a stage failed; its own message is above.
    """
    check_options(seed=seed, workers=workers)
    check_option("minutes", minutes, 0, MOST_MINUTES)
    plan = make_plan(output, minutes, seed)
    run_stages(list(stages(output, plan, workers)), plan.batch_factor > 1, report)
    return output / "svp-tiny"


def make_plan(output: Path, minutes: float, seed: int) -> TinyPlan:
    """The plan that `output` holds, or a new one, which it then holds."""
    path = check_output(output / "plan.yaml")
    if path.exists():
        return load_configuration(path, TinyPlan)
    device = select_device(None)
    machine = CPU if device.type == "cpu" else GPU
    plan = plan_tiny(minutes, seed, machine, measure_step(machine, device))
    with atomic_path(path) as temporary:
        save_configuration(plan, temporary)
    return plan


def stages(output: Path, plan: TinyPlan, workers: int) -> Iterator[Stage]:
    """All stages, in an order that respects their needs."""
    pictures, data, cached = output / "pictures", output / "data", output / "cached"
    start = output / "start"

    def training(
        kind: str, configure: Callable[[Path, TinyPlan], LoopConfiguration]
    ) -> Callable[[], None]:
        def run() -> None:
            configuration = configure(output, plan)  # which may depend on what it needs
            if plan.batch_factor > 1 and kind not in IN_MEMORY:  # a CPU has no cores to spare
                configuration = replace(configuration, num_workers=max(1, workers // 2))
            run_training(kind, configuration)

        return run

    def synthesise(folder: Path, clips: int, seed: int, fps: int, *options: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        sizes = ["--clips", clips, "--seconds", CLIP_SECONDS, "--fps", fps, "--look", plan.look]
        sizes += ["--seed", seed, "--workers", workers]
        run_command(["data", "synth", "-o", folder, *sizes, *options])

    def cache() -> None:
        shutil.rmtree(cached, ignore_errors=True)
        clips = ["--clips", plan.cached_clips, "--workers", workers]
        run_command(["data", "cache", data, "-o", cached, "--model", start, *clips])

    yield Stage(
        "pictures",
        pictures / INDEX_NAME,
        # Other people than those of the clips, so that these are new to the VAE.
        lambda: synthesise(
            pictures, plan.pictures, plan.seed + 1, PICTURES_PER_SECOND, "--mix-expressions"
        ),
    )
    yield Stage(
        "vae",
        output / "vae/vae",
        training("vae", configure_vae),
        ("pictures",),
    )
    yield Stage(
        "talkers",
        data / INDEX_NAME,
        lambda: synthesise(data, plan.clips, plan.seed, CLIP_FPS),
        ("pictures",),  # which the VAE waits for, so these are drawn by all workers first
    )
    yield Stage(
        "audio",
        output / "audio/feature_extractor",
        training("audio", configure_audio),
        ("talkers",),
    )
    yield Stage(
        "style",
        output / "style/style_encoder",
        training("style", configure_style),
        ("talkers", "audio"),
    )
    yield Stage("start", start, lambda: assemble(output, plan), ("vae", "audio", "style"))
    yield Stage("latents and styles", cached / INDEX_NAME, cache, ("talkers", "start"))
    yield Stage(
        "head motion",
        output / "head_motion/head_motion",
        training("head-motion", configure_head_motion),
        ("start",),
    )
    yield Stage(
        "expression",
        output / "expression/expression_encoder",
        training("expression", configure_expression),
        ("pictures", "vae"),
    )
    yield Stage(
        "image",
        output / "image/pipeline",
        training("image", configure_image),
        ("latents and styles", "expression"),
    )
    yield Stage(
        "svp-tiny",
        output / "svp-tiny",
        lambda: finish(output),
        ("image", "head motion"),
    )


def schedule(plan: TinyPlan, steps: int, warmup_steps: int) -> dict[str, Any]:
    """Options that all trainings have: four looks at the validation split, ten checkpoints."""
    return {
        "steps": steps,
        "seed": plan.seed,
        "warmup_steps": min(warmup_steps, steps // 5),
        "log_every": max(1, steps // 100),
        "validate_every": max(1, steps // 4),
        "checkpoint_every": max(1, steps // 10),
    }


def configure_vae(output: Path, plan: TinyPlan) -> VAETrainingConfiguration:
    """Stage `vae`."""
    return VAETrainingConfiguration(
        data=str(output / "pictures"),
        output_dir=str(output / "vae"),
        batch_size=VAETrainingConfiguration.batch_size * plan.batch_factor,
        mixed_precision=plan.vae_precision,
        latent_channels=LATENT_CHANNELS,
        gradient_weight=1.0,
        **schedule(plan, plan.vae_steps, 100),
    )


def configure_audio(output: Path, plan: TinyPlan) -> AudioTrainingConfiguration:
    """Stage `audio`."""
    return AudioTrainingConfiguration(
        data=str(output / "data"),
        output_dir=str(output / "audio"),
        **schedule(plan, plan.audio_steps, 100),
        learning_rate=2e-3,
        ema_decay=0.99,
    )


def configure_expression(output: Path, plan: TinyPlan) -> ExpressionTrainingConfiguration:
    """Stage `expression`: the encoder of latents that the sync loss reads expressions with.

    From the clips of talkers, few people in one emotion a clip, it would learn who looks how.
    """
    return ExpressionTrainingConfiguration(
        input="latents",
        data=str(output / "pictures"),
        vae=str(output / "vae/vae"),
        output_dir=str(output / "expression"),
        latents=40_000,
        batch_size=ExpressionTrainingConfiguration.batch_size * plan.batch_factor,
        base_channels=48,
        num_blocks=2,
        hidden_dim=256,
        noise=0.3,
        **schedule(plan, plan.expression_steps, 50),
    )


def configure_style(output: Path, plan: TinyPlan) -> StyleTrainingConfiguration:
    """Stage `style`. The rig is the same for all faces, so expressions need no centring."""
    audio = Wav2Vec2Model.config_class.from_pretrained(output / "audio/audio_encoder")
    return StyleTrainingConfiguration(
        data=str(output / "data"),
        output_dir=str(output / "style"),
        expression_space="arkit52",
        expression_centring="none",
        audio_encoder=str(output / "audio"),
        audio_dim=audio.hidden_size,
        style_dim=32,
        hidden_dim=96,
        num_layers=2,
        num_attention_heads=4,
        max_frames=64,
        min_window=20,
        max_window=50,
        classes_per_batch=min(32, plan.clips // 10),
        kl_weight=0.01,
        offset_noise=0.3,
        scale_noise=0.2,
        coefficient_dropout=0.1,
        **schedule(plan, plan.style_steps, 50),
        learning_rate=1e-3,
    )


def configure_head_motion(output: Path, plan: TinyPlan) -> HeadMotionTrainingConfiguration:
    """Stage `head motion`: talkers perform, undrawn."""
    return HeadMotionTrainingConfiguration(
        checkpoint=str(output / "start"),
        output_dir=str(output / "head_motion"),
        utterances=min(128, plan.clips),
        takes=6,
        **schedule(plan, plan.head_motion_steps, 100),
        learning_rate=3e-3,
        ema_decay=0.997,
    )


def configure_image(output: Path, plan: TinyPlan) -> ImageTrainingConfiguration:
    """Stage `image`: two frames of every clip."""
    return ImageTrainingConfiguration(
        data=str(output / "cached"),
        pipeline=str(output / "start"),
        output_dir=str(output / "image"),
        clips_per_batch=8 * plan.batch_factor,
        frames_per_clip=2,
        **schedule(plan, plan.image_steps, 50),
        learning_rate=1e-3,
        **denoiser_losses(output),
    )


def denoiser_losses(output: Path) -> dict[str, Any]:
    """Losses of the denoiser. It is guided on audio and style alone, so these are what it must do
    without at times; and now and then without the head's pose, which a call may lack."""
    return {
        "expression_encoder": str(output / "expression/expression_encoder"),
        "sync_weight": 1.5,
        "reference_dropout": 0.0,
        "head_dropout": 0.02,
        "joint_dropout": 0.02,
        "audio_dropout": 0.1,
        "style_dropout": 0.1,
    }


def run_training(kind: str, configuration: LoopConfiguration) -> None:
    """Run `svp train KIND` with a configuration, which is left beside the run's folder."""
    run = Path(configuration.output_dir)
    path = run.with_suffix(".yaml")
    save_configuration(configuration, path)
    resume = ["--resume"] if (run / "configuration.yaml").exists() else []
    run_command(["train", kind, "--config", path, *resume])


def run_command(arguments: Sequence[object]) -> None:
    """Run an `svp` command in a process of its own; raises `SVPError` if it fails."""
    command = [sys.executable, "-m", "svp_diffusers", *map(str, arguments)]
    if subprocess.run(command, check=False).returncode:
        raise SVPError(f"svp {' '.join(map(str, arguments))} failed; what it printed is above")


def assemble(output: Path, plan: TinyPlan) -> None:
    """Save the pipeline that training starts from."""
    pipeline = assemble_svp_tiny(
        SpaceToDepthAutoencoderKL.from_pretrained(output / "vae/vae"),
        Wav2Vec2Model.from_pretrained(output / "audio/audio_encoder"),
        Wav2Vec2FeatureExtractor.from_pretrained(output / "audio/feature_extractor"),
        StyleEncoder.from_pretrained(output / "style/style_encoder"),
        plan.seed,
    )
    save_checkpoint(pipeline, output / "start")


def finish(output: Path) -> None:
    """Add styles of single speakers to the bank, say which portraits are like those of the
    training, and store the pipeline in half precision."""
    pipeline = SVPTalkingHeadPipeline.from_pretrained(str(output / "image/pipeline"))
    head_motion = HeadMotionModel.from_pretrained(output / "head_motion/head_motion")
    pipeline.register_modules(head_motion=head_motion)
    fill_style_bank(pipeline.style_encoder, read_bank_clips(output))
    pipeline.register_to_config(min_portrait_psnr=measure_portraits(pipeline, output / "data"))
    save_checkpoint(pipeline.to(torch.float16), output / "svp-tiny")


@torch.no_grad()
def measure_portraits(pipeline: SVPTalkingHeadPipeline, data: Path) -> float:
    """The lowest PSNR of the VAE on portraits of the validation split, less 1 dB."""
    clips = ClipDataset(str(data), "validation")
    qualities = []
    for index in range(len(clips)):
        reference = clips[index].decode(0, 1).reference
        assert reference is not None
        frame = Image.fromarray(reference)
        size = (frame.height, frame.width)
        reconstruction = pipeline.reconstruct_portrait(pipeline.encode_image(frame, *size))
        qualities.append(pipeline.measure_portrait(frame, reconstruction))
    return round(min(qualities) - 1, 1)


def read_bank_clips(output: Path) -> list[StyleClip]:
    """Training clips of a few speakers, the style named as in "happy, speaker-03"."""
    features = load_audio_features("wav2vec2", output / "audio")
    clips = read_style_clips(str(output / "cached"), None, "arkit52", features, "train")
    speakers = sorted({clip.speaker for clip in clips})[:BANK_SPEAKERS]
    return [
        replace(clip, style=f"{clip.style}-{clip.speaker}")
        for clip in clips
        if clip.speaker in speakers
    ]
