"""Train svp-tiny further in minutes of one GPU, from clips that `pack.py` packed.

The machine needs this package's source tree, PyTorch, diffusers, transformers, accelerate, peft and
pydantic, but no network, PyAV or compiler (`PYTHONPATH=src`):

    python on_gpu.py train packed -o out --minutes 7
    python on_gpu.py decode packed -o out --minutes 4

`train` trains an expression encoder on the pictures, then the denoiser on the clips; `decode` the
VAE's decoder on the frames, at the same time if the GPU has room. All data lies in its memory. How
many steps fit into the minutes is measured first. What was trained is written in half precision, in
files of at most 15 MB; `apply` puts it into a checkpoint:

    python on_gpu.py apply out CHECKPOINT RESULT
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pack import read_frames, read_packed
from safetensors.torch import load_file, save_file
from torch import Tensor

from svp_diffusers.checkpoints.loading import find_checkpoint, save_checkpoint
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.configuration import (
    ImageTrainingConfiguration,
    for_validation,
)
from svp_diffusers.training.denoiser.held_batches import HeldBatches, HeldClips
from svp_diffusers.training.denoiser.objective import TRAINED_NETWORKS, DenoisingObjective
from svp_diffusers.training.expression.batches import select_coefficients
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
from svp_diffusers.training.expression.stage import ExpressionObjective, build_encoder
from svp_diffusers.training.loop.configuration import LoopConfiguration
from svp_diffusers.training.loop.estimate import trace_step
from svp_diffusers.training.loop.loop import MakeBatch, Objective, make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder
from svp_diffusers.training.loop.yaml_file import load_configuration
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration
from svp_diffusers.training.vae.stage import VAEObjective

FILE_BYTES = 15_000_000
VALIDATION_CLIPS = 64

GAIN, TINT, MIRRORED = 0.12, 0.08, 0.3
"""Of frames for the decoder: standard deviations by channel, and a share (our choice)."""


class HeldPictures:
    """Batches of latents with noise for the expression encoder, drawn on the device."""

    def __init__(
        self, pictures: dict[str, Tensor], configuration: ExpressionTrainingConfiguration
    ) -> None:
        self.pictures, self.configuration = pictures, configuration

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """`sample` and `reference` (n, c, h, w), `expression` (n, coefficients)."""
        device = self.pictures["sample"].device
        drawn = torch.Generator(device).manual_seed(number)
        size, number_held = self.configuration.batch_size, len(self.pictures["sample"])
        rows = torch.randint(number_held, (size,), generator=drawn, device=device)
        batch = {name: value[rows].float() for name, value in self.pictures.items()}
        std = self.configuration.noise * torch.rand(size, 1, 1, 1, generator=drawn, device=device)
        noise = torch.randn(batch["sample"].shape, generator=drawn, device=device)
        return batch | {"sample": batch["sample"] + std * noise}


class HeldFrames:
    """Batches of frames for the VAE's decoder, drawn on the device: most of other colours, some
    mirrored."""

    def __init__(
        self,
        pixels: Tensor,
        head_keypoints: Tensor,
        latent_shape: tuple[int, ...],
        batch_size: int,
    ) -> None:
        self.pixels, self.head_keypoints = pixels, head_keypoints
        self.latent_shape, self.batch_size = latent_shape, batch_size

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """`pixels` (n, 3, H, W), `head_keypoints` (n, 8, 2), `noise`."""
        device = self.pixels.device
        drawn = torch.Generator(device).manual_seed(number)
        size = (self.batch_size,)
        rows = torch.randint(len(self.pixels), size, generator=drawn, device=device)
        pixels, keypoints = vary(
            self.pixels[rows].float() / 127.5 - 1, self.head_keypoints[rows], drawn
        )
        return {
            "pixels": pixels,
            "head_keypoints": keypoints,
            "noise": torch.randn(*size, *self.latent_shape, generator=drawn, device=device),
        }


def vary(pixels: Tensor, keypoints: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Change the contrast of half of the pictures (n, 3, H, W) in [-1, 1], brightness and tint of
    half, and mirror `MIRRORED` of them, with their head keypoints (n, 8, 2)."""
    device, size = pixels.device, (len(pixels), 1, 1, 1)
    gain, tint = (
        std
        * torch.randn(len(pixels), 3, 1, 1, generator=generator, device=device)
        * (torch.rand(size, generator=generator, device=device) < 0.5)
        for std in (GAIN, TINT)
    )
    pixels = ((1 + gain) * pixels + tint).clamp(-1, 1)
    mirrored = torch.rand(size, generator=generator, device=device) < MIRRORED
    pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    edge = keypoints.new_tensor([pixels.shape[-1] - 1, 0])
    other = (edge - keypoints) * keypoints.new_tensor([1, -1])
    other[:, 6:] = other[:, 6:].flip(1)  # the eyes, at the left and at the right
    return pixels, torch.where(mirrored[..., 0], other, keypoints)


def count_steps(objective: Objective, make_batch: MakeBatch, seconds: float) -> int:
    """Steps that fit into `seconds`, from the time of some without an optimiser."""
    device = next(objective.parameters()).device
    objective.train()
    taken = []
    for number in range(12):
        start = time.perf_counter()
        objective(make_batch(number, 0, 1))["loss"].backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    objective.zero_grad()
    step = 1.15 * float(np.median(taken[4:]))  # an optimiser's step and the moving average
    print(f"{step * 1000:.0f} ms a step", flush=True)
    return max(20, round(seconds / step))


def run(
    objective: Objective,
    make_batch: MakeBatch,
    configuration: LoopConfiguration,
    device: torch.device,
    seconds: float,
) -> None:
    """Train for about `seconds`, validating four times."""
    objective.to(device)
    steps = count_steps(objective, make_batch, seconds)
    configuration = replace(
        configuration,
        steps=steps,
        log_every=max(1, steps // 40),
        validate_every=max(1, steps // 4),
        checkpoint_every=steps,
    )
    folder = RunFolder(configuration.output_dir, configuration, False)
    accelerator = make_accelerator(configuration)
    folder.start(accelerator)
    start = time.perf_counter()
    train(objective, make_batch, configuration, folder, accelerator)
    print(f"{steps} steps in {time.perf_counter() - start:.0f} s", flush=True)


def train_expression(options: argparse.Namespace, device: torch.device) -> ExpressionEncoder:
    """The expression encoder that the sync loss reads latents with, for a seventh of the time."""
    configuration = replace(
        load_configuration(
            options.configurations / "many_people_expression.yaml", ExpressionTrainingConfiguration
        ),
        output_dir=str(options.work / "expression"),
    )
    pictures, held_out = (
        read_pictures(options.packed, split, device) for split in ("train", "validation")
    )
    encoder = build_encoder(configuration, held_out["sample"].shape[1])
    held_out = {name: value.float() for name, value in held_out.items()}
    objective = ExpressionObjective(encoder, configuration, held_out)
    batches = HeldPictures(pictures, configuration)
    run(objective, batches, configuration, device, 60 * options.minutes / 7)
    return encoder


def read_pictures(folder: Path, split: str, device: torch.device) -> dict[str, Tensor]:
    """`sample` and `reference` (n, c, h, w) and `expression` (n, coefficients) of all pictures."""
    packed = read_packed(folder, f"pictures-{split}", device)
    frames = packed["latents"].shape[1]
    expression = packed["expression"].flatten(0, 1).cpu().numpy()
    return {
        "sample": packed["latents"].flatten(0, 1),
        "reference": packed["reference_latents"].repeat_interleave(frames, dim=0),
        "expression": select_coefficients(expression).to(device),
    }


def train_denoiser(options: argparse.Namespace, device: torch.device) -> None:
    """The expression encoder, then the denoiser."""
    encoder = train_expression(options, device)
    configuration = replace(
        load_configuration(options.configurations / "many_people.yaml", ImageTrainingConfiguration),
        output_dir=str(options.work / "image"),
    )
    clips, held_out = (
        HeldClips(**read_packed(options.packed, split, device)) for split in ("train", "validation")
    )
    judging = replace(
        for_validation(configuration),
        clips_per_batch=min(VALIDATION_CLIPS, len(held_out.latents)),
        frames_per_clip=held_out.latents.shape[1],
    )
    pipeline = SVPTalkingHeadPipeline.from_pretrained(
        str(find_checkpoint(options.checkpoint)), dtype=torch.float32
    )
    pipeline.unet.enable_motion_modules(False)
    judged = HeldBatches(held_out, judging)(0, 0, 1)
    objective = DenoisingObjective(pipeline, configuration, encoder, [judged])
    batches = HeldBatches(clips, configuration)
    example = {name: value.cpu() for name, value in batches(0, 0, 1).items()}
    for weight in trace_step(objective, example).unused:
        weight.requires_grad_(False)
    objective.to(device)
    with torch.no_grad():
        print(len(clips.latents), "clips;", objective.validate(), flush=True)
    run(objective, batches, configuration, device, 6 * 60 * options.minutes / 7)
    weights = {f"expression_encoder.{name}": value for name, value in encoder.state_dict().items()}
    for network in TRAINED_NETWORKS:
        state = getattr(pipeline, network).state_dict()
        weights |= {f"{network}.{name}": value for name, value in state.items()}
    save_halves(weights, options.output, "denoiser")


def train_decoder(options: argparse.Namespace, device: torch.device) -> None:
    """The VAE's decoder, its encoder as it is."""
    configuration = replace(
        load_configuration(options.configurations / "decoder.yaml", VAETrainingConfiguration),
        output_dir=str(options.work / "decoder"),
    )
    vae = SpaceToDepthAutoencoderKL.from_pretrained(
        find_checkpoint(options.checkpoint) / "vae", torch_dtype=torch.float32
    ).train()
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    training, held_out = (
        read_frames(options.packed, f"frames-{split}") for split in ("train", "validation")
    )
    objective = VAEObjective(vae, configuration, held_out)
    side = held_out.pixels.shape[1] // configuration.scale_factor
    batches = HeldFrames(
        torch.from_numpy(training.pixels).permute(0, 3, 1, 2).to(device),
        torch.from_numpy(training.head_keypoints).to(device),
        (configuration.latent_channels, side, side),
        configuration.batch_size,
    )
    objective.to(device)
    with torch.no_grad():
        print(len(training.pixels), "frames;", objective.validate(), flush=True)
    run(objective, batches, configuration, device, 60 * options.minutes)
    weights = {f"vae.{name}": value for name, value in vae.state_dict().items()}
    save_halves(weights, options.output, "decoder")


def save_halves(weights: dict[str, Tensor], folder: Path, name: str) -> None:
    """Write weights in half precision, in files of at most `FILE_BYTES`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(_divide(weights)):
        save_file(part, folder / f"{name}-{number}.safetensors")


def _divide(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    total = 0
    for name, value in weights.items():
        half = value.detach().half().cpu().contiguous()
        if total + half.nbytes > FILE_BYTES:
            yield part
            part, total = {}, 0
        part[name] = half
        total += half.nbytes
    yield part


def apply(options: argparse.Namespace) -> None:
    """Put what was trained into a checkpoint."""
    trained: dict[str, Tensor] = {}
    for path in sorted(options.trained.rglob("*.safetensors")):
        trained |= load_file(path)
    networks = (*TRAINED_NETWORKS, "vae")
    if not any(name.partition(".")[0] in networks for name in trained):
        raise SystemExit(f"{options.trained} holds nothing that `train` or `decode` wrote")
    pipeline = SVPTalkingHeadPipeline.from_pretrained(
        str(find_checkpoint(options.checkpoint)), dtype=torch.float16
    )
    for network in networks:
        beginning = f"{network}."
        found = {
            name.removeprefix(beginning): value
            for name, value in trained.items()
            if name.startswith(beginning)
        }
        if found:
            getattr(pipeline, network).load_state_dict(found)
            print(network, flush=True)
    save_checkpoint(pipeline, options.result)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, action: Callable[..., None], *paths: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name)
        command.set_defaults(action=action, name=name)
        for path in paths:
            command.add_argument(path, type=Path)
        return command

    for name, action in (("train", train_denoiser), ("decode", train_decoder)):
        training = add(name, action, "packed")
        training.add_argument("-o", "--output", type=Path, required=True)
        training.add_argument("--work", type=Path, default=Path("on_gpu"))
        training.add_argument("--minutes", type=float, default=7)
        training.add_argument("--checkpoint", default=None)
        training.add_argument("--configurations", type=Path, default=Path(__file__).parent)
    add("apply", apply, "trained", "checkpoint", "result")
    options = parser.parse_args()
    if options.name in ("train", "decode"):
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        options.action(options, device)
    else:
        options.action(options)


if __name__ == "__main__":
    main()
