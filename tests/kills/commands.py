"""What is killed: every command that writes for long, on inputs so small that it takes seconds."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from drawn_videos import draw_frames, write_video
from PIL import Image

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.data.cache import cache_dataset
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.talkers.speech import synthesise_speech
from svp_diffusers.talkers.synthesis import SynthesisSettings, synthesise_dataset
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
from svp_diffusers.training.denoiser.configuration import (
    DistillationConfiguration,
    ImageTrainingConfiguration,
    StyleAdapterTrainingConfiguration,
    VideoTrainingConfiguration,
)
from svp_diffusers.training.denoiser.image_stage import train_image
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
from svp_diffusers.training.loop.yaml_file import save_configuration
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration

SIZE = 32
RUN = {"steps": 8, "checkpoint_every": 2, "log_every": 1, "warmup_steps": 2}
DENOISER = {**RUN, "clips_per_batch": 2, "frames_per_clip": 2, "validation_clips": 2}


@dataclass(frozen=True)
class Command:
    """A command, and how it is repeated.

    Attributes:
        name: for the report.
        arguments: of `svp`, for a folder of its own.
        again: those of the repetition, for the folder that a killed run left.
        prepare: puts into the folder what the command changes.
        varying: name of files that may differ: how long things took, what was there already.
    """

    name: str
    arguments: Callable[[Path], list[object]]
    again: Callable[[Path], list[object]] | None = None
    prepare: Callable[[Path], object] | None = None
    varying: str = ""


def write_inputs(folder: Path) -> None:
    """Everything that the commands read."""
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / "portrait.png")
    speech = 0.1 * generator.standard_normal(6400)
    soundfile.write(folder / "speech.wav", speech, 16_000)
    line = {"image": str(folder / "portrait.png"), "audio": str(folder / "speech.wav")}
    line |= {"model": str(folder / "start"), "steps": 1, "size": 64, "guidance_scale": 1.0}
    line["detect_face"] = False
    lines = [{**line, "output": f"{seed}.mp4", "seed": seed} for seed in range(3)]
    (folder / "lines.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    write_videos(folder / "videos")
    write_recordings(folder / "recordings")

    settings = SynthesisSettings(seed=5, size=SIZE, fps=Fraction(20), seconds=1.0)
    list(synthesise_dataset(folder / "talkers", 40, settings, workers=1))
    start = build_random_pipeline()
    start.register_modules(
        style_encoder=StyleEncoder.tiny(
            audio_dim=32, style_dim=16, expression_dim=52, expression_space="arkit52"
        )
    )
    start.save_pretrained(folder / "start")
    talkers = ClipDataset(str(folder / "talkers"))
    cache_dataset(talkers, folder / "cached", lambda: start, batch_size=20)
    style = StyleDistribution(
        torch.zeros(16), torch.ones(16), encoder_id=start.style_encoder.config.encoder_id
    )
    style.save(folder / "a.style.safetensors")
    names = ("jawOpen", "mouthPucker", "browInnerUp")
    ExpressionEncoder(4, names, block_out_channels=(8, 8)).save_pretrained(folder / "expression")
    train_image(
        ImageTrainingConfiguration(
            **{**DENOISER, "steps": 2, "style_dropout": 1.0},
            data=str(folder / "cached"),
            pipeline=str(folder / "start"),
            output_dir=str(folder / "base"),
        )
    )


def write_videos(folder: Path) -> None:
    """Three short videos of a face, whose place is in a file beside each."""
    folder.mkdir()
    speech, _ = synthesise_speech("The seven small boats came home.")
    frames = int(len(speech) / 16_000 * 25)
    for number in range(3):
        pictures = draw_frames(frames, background=40 + 20 * number)
        write_video(folder / f"{number}.mp4", pictures, sound=speech)
        np.save(folder / f"{number}.npy", np.tile(np.float32([44, 28, 84, 68]), (frames, 1)))


def write_recordings(folder: Path) -> None:
    """Twelve recordings of coefficients, by three speakers in two styles."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = [["expressions", "audio", "fps", "speaker", "style"]]
    for number in range(12):
        values = np.cumsum(generator.normal(size=(60, 64)), axis=0).astype(np.float32) * 0.1
        np.savez(folder / f"{number}.npz", expression=values, space="bfm64", fps=25)
        rows.append([f"{number}.npz", "", "", "abc"[number // 4], ("calm", "loud")[number % 2]])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def make_commands(inputs: Path) -> list[Command]:
    """Every command, by what `write_inputs` wrote."""
    short = ["--steps", 1, "--size", 64, "--guidance-scale", 1, "--no-detect-face"]
    generate = [inputs / "portrait.png", inputs / "speech.wav", "--model", inputs / "start", *short]
    faces = ["--no-expressions", "--face-files", "{parent}/{stem}.npy", "--minimum-seconds", 1]
    drawn = ["--size", SIZE, "--seconds", 1, "--fps", 10, "--clips", 24]
    encoders = ["--model", inputs / "start", "--batch-size", 4]
    style, talkers = inputs / "a.style.safetensors", inputs / "talkers"
    return [
        Command("generate", lambda to: ["generate", *generate, "-o", to / "video.mp4"]),
        Command(
            "batch",
            lambda to: ["batch", inputs / "lines.jsonl", "-o", to],
            varying="report.csv",
        ),
        Command("data synth", lambda to: ["data", "synth", "-o", to, *drawn]),
        Command(
            "data prepare",
            lambda to: ["data", "prepare", inputs / "videos", "-o", to, "--size", 64, *faces],
        ),
        Command("data cache", lambda to: ["data", "cache", talkers, "-o", to, *encoders]),
        Command(
            "style add",
            lambda to: ["style", "add", "killed", style, "--model", to],
            prepare=lambda to: shutil.copytree(inputs / "start", to, dirs_exist_ok=True),
        ),
        Command("push", lambda to: ["push", inputs / "base" / "pipeline", f"a/{to.name}"]),
        *(_make_training(inputs, *each) for each in _configure_trainings(inputs)),
    ]


def _configure_trainings(inputs: Path) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Stage of `svp train`, configuration and options of a run of seconds."""
    talkers, cached = {"data": str(inputs / "talkers")}, {"data": str(inputs / "cached")}
    denoiser = {**DENOISER, **cached, "pipeline": str(inputs / "start")}
    small = {"base_channels": 8, "num_blocks": 2}
    tiny = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    recordings = {"data": str(inputs / "recordings" / "manifest.csv")}
    features = {"audio_features": "log-mel-80", "audio_dim": 80, "style_dim": 8, "hidden_dim": 32}
    windows = {"num_layers": 1, "num_attention_heads": 2, "max_frames": 64, "classes_per_batch": 6}
    windows |= {"min_window": 10, "max_window": 30}
    yield "style", StyleTrainingConfiguration, {**RUN, **recordings, **features, **windows}
    yield "image", ImageTrainingConfiguration, denoiser
    adapter = {**denoiser, "pipeline": str(inputs / "base" / "pipeline")}
    yield "video", VideoTrainingConfiguration, adapter
    yield "style-adapter", StyleAdapterTrainingConfiguration, adapter
    yield "distil", DistillationConfiguration, denoiser
    vae = {**RUN, **talkers, **small, "norm_num_groups": 8, "validation_frames": 8}
    yield "vae", VAETrainingConfiguration, vae
    audio = {"intermediate_size": 64, "num_conv_pos_embeddings": 16, "conv_channels": 32}
    audio = {**RUN, **talkers, **tiny, **audio, "num_bands": 24, "batch_size": 4, "window": 0.5}
    yield "audio", AudioTrainingConfiguration, audio
    frames = {"input": "frames", "hidden_dim": 32, "validation_frames": 8}
    yield "expression", ExpressionTrainingConfiguration, {**RUN, **talkers, **small, **frames}
    motion = {"hidden_dim": 32, "num_layers": 1, "window": 12, "context": 4, "lookahead": 2}
    yield "head-motion", HeadMotionTrainingConfiguration, {**RUN, **talkers, **motion}


def _make_training(inputs: Path, stage: str, configuration: Any, options: Any) -> Command:
    def write(to: Path) -> list[object]:
        path = inputs / f"{stage}-{to.name}.yaml"
        save_configuration(configuration(**options, output_dir=str(to)), path)
        return ["train", stage, "--config", path]

    def resume(to: Path) -> list[object]:
        begun = (to / "configuration.yaml").exists()
        return [*write(to), *["--resume"] * begun]

    # Accelerate keeps the global generators' states too, which nothing draws from.
    return Command(f"train {stage}", write, again=resume, varying="random_states_0.pkl")
