"""Training of a VAE for svp-tiny: single frames of talkers (every number is our choice)."""

from pathlib import Path

import numpy as np
import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from svp_diffusers.checkpoints.loading import load_network
from svp_diffusers.data.frames import FrameBatch, FrameDataset, to_pixels
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.measures.face_regions import locate_mouth, weigh_face
from svp_diffusers.measures.pictures import measure_psnr
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.training.loop.loop import Objective, make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration
from svp_diffusers.training.vae.discriminator import build_discriminator

SCALING_FRAMES = 1024
"""Frames whose latents give the scaling factor."""


def train_vae(configuration: VAETrainingConfiguration, resume: bool = False) -> Path:
    """Train a VAE, in one process or in many under `accelerate launch` or `torchrun`.

    Args:
        configuration: all options.
        resume: continue from the newest checkpoint of `output_dir`, as if never interrupted.

    Returns:
        The folder of the VAE: moving average of the weights, and as scaling factor the inverse of
        the standard deviation of the latents of training frames.

    Raises:
        SVPError: see `RunFolder` and `FrameDataset`; raised before any training.
        ConfigurationError: the VAE cannot halve the frames of the data often enough.
    """
    run = RunFolder(configuration.output_dir, configuration, resume)
    frames = FrameDataset(configuration.data, "train")
    held_out = FrameDataset(configuration.data, "validation")
    vae = build_vae(configuration, frames)
    if configuration.start_from is not None:
        vae = load_vae(configuration.start_from, vae.config)
    if configuration.decoder_of is not None:
        vae = load_vae(configuration.decoder_of, vae.config)
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)
    accelerator = make_accelerator(configuration)
    run.start(accelerator)
    objective = VAEObjective(
        vae, configuration, held_out.read(held_out.spread(configuration.validation_frames))
    )
    accelerator.print(f"{len(frames)} frames", flush=True)
    train(objective, VAEBatches(frames, configuration), configuration, run, accelerator)
    folder = run.path / "vae"
    if accelerator.is_main_process:
        if configuration.decoder_of is None:
            vae.register_to_config(scaling_factor=measure_scaling_factor(vae, frames))
        with atomic_folder(folder) as temporary:
            vae.save_pretrained(temporary)
    accelerator.wait_for_everyone()
    return folder


def build_vae(
    configuration: VAETrainingConfiguration, frames: FrameDataset
) -> SpaceToDepthAutoencoderKL:
    """A new VAE for frames of this size, initial weights from the seed."""
    factor = configuration.scale_factor
    if frames.height % factor or frames.width % factor:
        raise ConfigurationError(
            f"frames of {frames.width}x{frames.height} pixels cannot be halved often enough: "
            f"patch_size {configuration.patch_size} and {configuration.num_blocks} blocks need "
            f"multiples of {factor}"
        )
    blocks = range(configuration.num_blocks)
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        return SpaceToDepthAutoencoderKL(
            patch_size=configuration.patch_size,
            down_block_types=("DownEncoderBlock2D",) * len(blocks),
            up_block_types=("UpDecoderBlock2D",) * len(blocks),
            block_out_channels=tuple(configuration.base_channels * 2**block for block in blocks),
            layers_per_block=configuration.layers_per_block,
            latent_channels=configuration.latent_channels,
            norm_num_groups=configuration.norm_num_groups,
            sample_size=frames.height,
        )


def load_vae(folder: str, wanted: FrozenDict) -> SpaceToDepthAutoencoderKL:
    """A trained VAE in float32, to train further.

    Raises:
        CheckpointError: there is none in the folder.
        ConfigurationError: its sizes are not those of the configuration.
    """
    vae = load_network(SpaceToDepthAutoencoderKL, folder, "VAE")
    names = ("patch_size", "block_out_channels", "layers_per_block", "latent_channels")
    for name in (*names, "norm_num_groups"):
        if list(np.atleast_1d(vae.config[name])) != list(np.atleast_1d(wanted[name])):
            raise ConfigurationError(
                f"the VAE {folder} has {name} {vae.config[name]}, the configuration {wanted[name]}"
            )
    return vae.train()


class VAEBatches:
    """Batches of frames with noise for their latents; the same number gives the same batch."""

    def __init__(self, frames: FrameDataset, configuration: VAETrainingConfiguration) -> None:
        self.frames, self.configuration = frames, configuration
        self.latent_shape = (
            configuration.latent_channels,
            frames.height // configuration.scale_factor,
            frames.width // configuration.scale_factor,
        )

    def __call__(self, number: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """This process's part: `pixels` (n, 3, H, W), `head_keypoints` (n, 8, 2), `noise`."""
        seed = [self.configuration.seed, number]
        indices, first = self.frames.draw(self.configuration.batch_size, seed, rank, world_size)
        batch = self.frames.read(indices)
        noise = [
            np.random.default_rng([*seed, row]).standard_normal(self.latent_shape, np.float32)
            for row in range(first, first + len(indices))
        ]
        return {
            "pixels": to_pixels(batch.pixels),
            "head_keypoints": torch.from_numpy(batch.head_keypoints).float(),
            "noise": torch.from_numpy(np.stack(noise)),
        }


class VAEObjective(Objective):
    """The VAE, and the loss of its reconstructions.

    Args:
        vae: to train.
        configuration: weights of the parts of the loss.
        held_out: frames to validate on.
    """

    def __init__(
        self,
        vae: SpaceToDepthAutoencoderKL,
        configuration: VAETrainingConfiguration,
        held_out: FrameBatch,
    ) -> None:
        super().__init__()
        self.vae, self.configuration, self.held_out = vae, configuration, held_out
        self.discriminator = None
        if configuration.adversarial_weight:
            self.discriminator = build_discriminator(configuration.seed)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, its parts `l1`, `mse`, `gradient` (weighted over the picture), `kl` (nats) and,
        with a discriminator, `adversarial` and the discriminator's own loss, `judgement`."""
        pixels = batch["pixels"]
        height, width = pixels.shape[-2:]
        posterior = self.vae.encode(pixels).latent_dist
        reconstruction = self.vae.decode(posterior.mean + posterior.std * batch["noise"]).sample
        weights = weigh_face(
            batch["head_keypoints"],
            height,
            width,
            face=self.configuration.face_weight,
            mouth=self.configuration.feature_weight,
            eyes=self.configuration.feature_weight,
        )
        error = reconstruction.float() - pixels
        l1 = (weights * error.abs()).mean()
        mse = (weights * error.square()).mean()
        gradient = (weights[..., 1:] * error.diff(dim=-1).abs()).mean() + (
            weights[..., 1:, :] * error.diff(dim=-2).abs()
        ).mean()
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = (
            l1
            + self.configuration.mse_weight * mse
            + self.configuration.gradient_weight * gradient
            + self.configuration.kl_weight * kl
        )
        parts = {"l1": l1, "mse": mse, "gradient": gradient, "kl": kl}
        if self.discriminator is not None:
            parts["adversarial"] = self.discriminator.deceive(reconstruction)
            parts["judgement"] = self.discriminator.judge(pixels, reconstruction)
            loss = loss + self.configuration.adversarial_weight * parts["adversarial"]
            loss = loss + parts["judgement"]
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}

    def validate(self) -> dict[str, float]:
        """Peak signal-to-noise ratio of reconstructions in dB, of pictures and of their mouths."""
        truths, reconstructions, mouths = [], [], []
        for start in range(0, len(self.held_out.pixels), 8):
            pixels = to_pixels(self.held_out.pixels[start : start + 8]).to(self.vae.device)
            keypoints = torch.from_numpy(self.held_out.head_keypoints[start : start + 8])
            latents = self.vae.encode(pixels).latent_dist.mode()
            truths.append(pixels.cpu())
            reconstructions.append(self.vae.decode(latents).sample.float().clamp(-1, 1).cpu())
            mouths.append(locate_mouth(keypoints, *pixels.shape[-2:]).expand_as(truths[-1]))
        truth, read, mouth = (
            torch.cat(parts).numpy() for parts in (truths, reconstructions, mouths)
        )
        return {
            "psnr": measure_psnr(read, truth, 2),
            "mouth_psnr": measure_psnr(read[mouth], truth[mouth], 2),
        }


@torch.no_grad()
def measure_scaling_factor(vae: SpaceToDepthAutoencoderKL, frames: FrameDataset) -> float:
    """The inverse of the standard deviation of latents, over frames spread over the data."""
    latents = []
    chosen = frames.spread(SCALING_FRAMES)
    for indices in np.array_split(chosen, -(-len(chosen) // 8)):
        pixels = to_pixels(frames.read(indices).pixels)
        latents.append(vae.encode(pixels).latent_dist.mode())
    return 1 / float(torch.cat(latents).std())
