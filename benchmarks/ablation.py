"""What each part of the method brings: svp-tiny's images trained without it, for equal minutes.

Starts from the folder that `svp train tiny` leaves, with its data, encoders and new denoiser. Every
variant gets the same data, seed and minutes of processor time, which other work does not change,
hence more steps if its steps are faster. What is done is not done again, so that variants can be
run one after another or side by side.

    python benchmarks/ablation.py tiny --expression-encoder frames/expression_encoder -o ablation
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svp_diffusers.evaluation.talking_head.evaluate import EvaluationSettings, evaluate_videos
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.reading import load_expression_reader
from svp_diffusers.media.output import atomic_path
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.models.temporal_unet_svp import PortraitTransformerBlock, TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.configuration import (
    DenoisingConfiguration,
    ImageTrainingConfiguration,
    VideoTrainingConfiguration,
)
from svp_diffusers.training.denoiser.objective import DenoisingObjective
from svp_diffusers.training.denoiser.stage import read_batches
from svp_diffusers.training.denoiser.video_stage import train_motion
from svp_diffusers.training.loop.estimate import trace_step
from svp_diffusers.training.loop.loop import make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder
from svp_diffusers.training.loop.yaml_file import load_configuration

ONE_HOT_STD = 1e-3
VIDEO_SHARE = 0.25  # of the minutes, where the temporal modules are trained

COLUMNS = {
    "jaw": "jaw opening: correlation with the truth",
    "width": "lip width: correlation with the truth",
    "style": "requested style recovered",
    "effect": "all emotions: shift from neutral",
    "PSNR lost (dB)": "PSNR lost beyond the VAE's reconstruction (dB)",
    "motion": "frame-to-frame difference over the truth's",
}
"""Heading, and how the row of the evaluation begins."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is changed before training.

    name: of the row.
    change: changes the pipeline that training starts from.
    one_hot: a vector per emotion in place of the style prior.
    sync: with the sync loss.
    video: the last quarter of the minutes trains the temporal modules.
    """

    name: str
    change: Callable[[SVPTalkingHeadPipeline], None] = lambda pipeline: None
    one_hot: bool = False
    sync: bool = True
    video: bool = False


def drop_reference_attention(pipeline: SVPTalkingHeadPipeline) -> None:
    """Let the reference attention add nothing; the portrait's latents are still concatenated."""
    pipeline.reference_unet.requires_grad_(False)
    for module in pipeline.unet.modules():
        if isinstance(module, PortraitTransformerBlock):
            for part in (module.attn_reference, module.norm_reference):
                part.requires_grad_(False)
            nn.init.zeros_(module.attn_reference.to_out[0].weight)
            nn.init.zeros_(module.attn_reference.to_out[0].bias)


def drop_reference_latents(pipeline: SVPTalkingHeadPipeline) -> None:
    """A new UNet that sees the portrait through the reference attention alone."""
    config = {**pipeline.unet.config, "reference_channels": 0, "reference_skip": False}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet: TemporalUNet = TemporalUNet.from_config(config)
    unet.silence_audio()
    unet.silence_motion()
    pipeline.register_modules(unet=unet)


VARIANTS = (
    Variant("everything, images only"),
    Variant("a quarter of the time for temporal modules", video=True),
    Variant("one-hot emotion instead of the style prior", one_hot=True),
    Variant("without reference attention", drop_reference_attention),
    Variant("without reference concatenation", drop_reference_latents),
    Variant("without sync loss", sync=False),
)


def main() -> None:
    """Train and measure what is not done yet, and print the table of what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiny", type=Path, help="folder of `svp train tiny`")
    parser.add_argument("--expression-encoder", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=4.0, help="of a processor, each")
    parser.add_argument("--clips", type=int, default=16, help="of the test split")
    parser.add_argument("--style-clips", type=int, default=4)
    parser.add_argument("--training-clips", type=int, default=128)
    parser.add_argument("--variants", type=int, nargs="+", default=range(len(VARIANTS)))
    arguments = parser.parse_args()
    for number in arguments.variants:
        result = arguments.output / f"{number}.json"
        if not result.exists():
            figures = measure(VARIANTS[number], arguments.output / str(number), arguments)
            with atomic_path(result) as temporary:
                temporary.write_text(json.dumps(figures, indent=1) + "\n")
    print("| variant | steps | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for number, variant in enumerate(VARIANTS):
        result = arguments.output / f"{number}.json"
        if result.exists():
            figures = json.loads(result.read_text())
            cells = [f"{figures[name]:.2f}" for name in COLUMNS]
            print(f"| {variant.name} | {figures['steps']} | " + " | ".join(cells) + " |")


def measure(variant: Variant, run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a variant and evaluate it: the figures of `COLUMNS`, and `steps`."""
    tiny: Path = arguments.tiny
    pipeline = SVPTalkingHeadPipeline.from_pretrained(str(tiny / "start"))
    variant.change(pipeline)
    image = load_configuration(tiny / "image.yaml", ImageTrainingConfiguration)
    seconds = 60 * arguments.minutes
    steps = train_stage(
        variant, pipeline, image, run / "image", seconds * (1 - VIDEO_SHARE * variant.video)
    )
    if variant.video:
        video = VideoTrainingConfiguration(
            **{**vars(image), "clips_per_batch": 4, "frames_per_clip": 12, "learning_rate": 6e-4}
        )
        steps += train_stage(variant, pipeline, video, run / "video", seconds * VIDEO_SHARE)
    settings = EvaluationSettings(
        parts=("lip_sync", "style", "quality"),
        clips=arguments.clips,
        style_clips=arguments.style_clips,
        training_clips=arguments.training_clips,
    )
    reader = load_expression_reader(arguments.expression_encoder, torch.device("cpu"))
    report = evaluate_videos(
        Sampler(pipeline), str(tiny / "data"), reader, settings, lambda task, done, total: None
    )
    rows = [row for result in report.results.values() for row in result.rows]
    figures: dict[str, Any] = {"variant": variant.name, "steps": steps}
    for name, beginning in COLUMNS.items():
        (row,) = (row for row in rows if row.measure.startswith(beginning))
        assert row.generated is not None
        figures[name] = row.generated.value
    return figures


def train_stage(
    variant: Variant,
    pipeline: SVPTalkingHeadPipeline,
    configuration: DenoisingConfiguration,
    output: Path,
    seconds: float,
) -> int:
    """Train for so many seconds of a processor, about, and return the number of steps."""
    consecutive = isinstance(configuration, VideoTrainingConfiguration)
    encoder = None
    if variant.sync:
        encoder = ExpressionEncoder.from_pretrained(configuration.expression_encoder)
    pipeline.unet.enable_motion_modules(consecutive)
    batches, held_out = read_batches(pipeline, configuration, consecutive)
    if variant.one_hot:
        styles = fill_bank_one_hot(pipeline)
        for each in (batches, held_out):
            emotions = [str(e.header["metadata"]["emotion"]) for e in each.dataset.entries]
            each.styles = [styles[emotion] for emotion in emotions]
    objective = DenoisingObjective(pipeline, configuration, encoder, [held_out(0, 0, 1)])
    if consecutive:
        train_motion(objective)
    example = batches(0, 0, 1)
    for weight in trace_step(objective, example).unused:
        weight.requires_grad_(False)
    steps = round(seconds / measure_step(objective, example))
    configuration = dataclasses.replace(
        configuration,
        output_dir=str(output),
        steps=steps,
        warmup_steps=min(configuration.warmup_steps, steps // 5),
        log_every=max(1, steps // 20),
        validate_every=max(1, steps // 4),
        checkpoint_every=steps,
    )
    accelerator = make_accelerator(configuration)
    run = RunFolder(output, configuration, resume=False)
    run.start(accelerator)
    train(objective, batches, configuration, run, accelerator)
    return steps


def fill_bank_one_hot(
    pipeline: SVPTalkingHeadPipeline,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Put a vector of its own into the bank for every emotion: their means and deviations."""
    encoder = pipeline.style_encoder
    size = encoder.config.style_dim
    std = torch.full((size,), ONE_HOT_STD)
    styles = {}
    for number, name in enumerate(list(encoder.config.style_names)):
        # As long as a sample of the standard normal prior.
        mean = size**0.5 * torch.eye(size)[number]
        encoder.remove_style(name)
        encoder.add_style(name, StyleDistribution(mean, std, encoder_id=encoder.config.encoder_id))
        styles[name] = (mean, std)
    return styles


def measure_step(objective: DenoisingObjective, batch: dict[str, torch.Tensor]) -> float:
    """Seconds of a processor that a step takes, without the optimiser's."""
    seconds = []
    for _ in range(4):
        start = time.process_time()
        objective(batch)["loss"].backward()
        seconds.append(time.process_time() - start)
    objective.zero_grad()
    return min(seconds)


if __name__ == "__main__":
    main()
