"""Expression encoders learn to read faces, and a run that was killed goes on exactly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.frames import FrameDataset, to_pixels
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import CheckpointError, ConfigurationError, DatasetError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.training.expression.batches import (
    COEFFICIENTS,
    LatentBatches,
    augment_frame,
    read_latents,
    select_coefficients,
)
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
from svp_diffusers.training.expression.stage import train_expression
from training_runs import check_resumption, read_metrics

Configure = Callable[..., ExpressionTrainingConfiguration]


@pytest.fixture
def configure(drawn_talkers: str, tmp_path: Path) -> Configure:
    """Make a configuration that trains in seconds; keywords override it."""

    def configure(output: str = "run", **options: Any) -> ExpressionTrainingConfiguration:
        return ExpressionTrainingConfiguration(
            **{
                "input": "frames",
                "data": drawn_talkers,
                "output_dir": str(tmp_path / output),
                "base_channels": 8,
                "num_blocks": 3,
                "hidden_dim": 64,
                "validation_frames": 40,
                "warmup_steps": 5,
                "log_every": 1,
                **options,
            }
        )

    return configure


@pytest.fixture
def cached_talkers(drawn_talkers: str, tmp_path: Path) -> str:
    """The talkers with the means of 8 x 8 squares in place of latents."""
    clips = ClipDataset(drawn_talkers)
    with ShardWriter(tmp_path / "cached") as writer:
        for index in range(len(clips)):
            sample = clips[index].decode()
            assert sample.frames is not None
            squares = sample.frames.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4)) / 127.5 - 1
            latents = squares.transpose(0, 3, 1, 2).astype(np.float16)
            writer.write(encode_clip(replace(sample, frames=None, reference=None, latents=latents)))
    return str(tmp_path / "cached")


def test_it_learns_to_read_frames(configure: Configure) -> None:
    """Shown on the few people it was trained with; to read others takes more of them."""
    configuration = configure(
        steps=150, validate_every=150, noise=0.0, blur=1.0, colour=0.0, shift=0.0
    )
    folder = train_expression(configuration)
    assert set(COEFFICIENTS) < set(read_metrics(configuration)[-1])
    frames = FrameDataset(configuration.data, "train")
    batch = frames.read(frames.spread(120))
    truth = select_coefficients(batch.expression).numpy()
    encoder = ExpressionEncoder.from_pretrained(folder).eval()
    with torch.no_grad():
        read = encoder(to_pixels(batch.pixels)).numpy()
    # Noise on 120 frames has a standard deviation of 0.09.
    assert correlate(read, truth, axis=0)[0] > 0.4
    assert np.nanmean(correlate(read, truth, axis=0)) > 0.4

    assert encoder.config.expression_space == "arkit52"
    assert set(encoder.config.coefficient_names) <= set(ARKIT_BLENDSHAPES)
    assert encoder(torch.zeros(2, 3, 32, 32)).shape == (2, len(COEFFICIENTS))


def test_it_reads_cached_latents(configure: Configure, cached_talkers: str) -> None:
    configuration = configure(
        input="latents", data=cached_talkers, steps=60, validate_every=60, num_blocks=2
    )
    encoder = ExpressionEncoder.from_pretrained(train_expression(configuration))
    assert encoder.config.in_channels == 3
    assert encoder.config.with_reference
    losses = [line["loss"] for line in read_metrics(configuration) if "loss" in line]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.parametrize("kind", ["frames", "latents"])
@pytest.mark.parametrize("space", ["bfm64", None])
def test_other_expressions_than_arkit_are_refused(
    configure: Configure, cached_talkers: str, tmp_path: Path, kind: str, space: str | None
) -> None:
    """Their columns mean something else, though there are enough of them."""
    configuration = configure(input=kind)
    clips = ClipDataset(cached_talkers if kind == "latents" else configuration.data)
    with ShardWriter(tmp_path / "others") as writer:
        for index in range(len(clips)):
            sample = clips[index].decode()
            expression = None if space is None else np.zeros((10, 64), np.float32)
            changed = replace(sample, expression=expression, expression_space=space)
            writer.write(encode_clip(changed))
    with pytest.raises(DatasetError, match=r"must all have an expression|learns from arkit52"):
        train_expression(replace(configuration, data=str(tmp_path / "others")))


def test_a_patch_that_does_not_fit_is_refused(configure: Configure) -> None:
    with pytest.raises(ConfigurationError, match="patch_size 3 does not divide frames of 32x32"):
        train_expression(configure(patch_size=3))


def test_latents_of_frames_are_those_that_a_vae_gives(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name the VAE"):
        train_expression(configure(input="latents"))
    with pytest.raises(CheckpointError, match="holds no VAE"):
        train_expression(configure(input="latents", vae=str(tmp_path)))
    vae = SpaceToDepthAutoencoderKL(block_out_channels=(8, 8, 8), norm_num_groups=4)
    vae.save_pretrained(tmp_path / "vae")
    configuration = configure(input="latents", vae=str(tmp_path / "vae"))
    held = read_latents(configuration, "validation", 12)
    assert (held.latents.shape, held.expression.shape) == ((12, 4, 4, 4), (12, 52))
    whole = read_latents(configuration, "validation", 100_000)
    assert len(whole.latents) == len(FrameDataset(configuration.data, "validation"))
    assert np.array_equal(whole.clips, np.repeat(np.arange(4), 10))
    sample = ClipDataset(configuration.data, "validation")[0].decode(0, 1)
    assert sample.frames is not None
    assert sample.expression is not None
    assert sample.reference is not None
    assert np.array_equal(held.expression[0], sample.expression[0])
    pictures = np.stack([sample.frames[0], sample.reference])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        expected = vae.eval().encode(pixels).latent_dist.mode() * vae.config.scaling_factor
    # Latents are stored in half precision.
    read = np.stack([held.latents[0], held.references[held.clips[0]]])
    np.testing.assert_allclose(read, expected.numpy(), rtol=2e-3, atol=2e-3)


def test_frames_are_read_beside_the_picture_of_their_own_person(
    configure: Configure, drawn_talkers: str, tmp_path: Path
) -> None:
    """Or beside the first frame of a clip that has none."""
    clips = ClipDataset(drawn_talkers, "train")
    with ShardWriter(tmp_path / "cached") as writer:
        for index in range(3):
            sample = clips[index].decode()
            frames = np.arange(len(sample.head_keypoints)) + 100 * index
            latents = np.broadcast_to(frames[:, None, None, None], (len(frames), 1, 2, 2))
            reference = None if index == 1 else np.full((1, 2, 2), -index - 1, np.float16)
            changed = replace(
                sample,
                frames=None,
                reference=None,
                latents=latents.astype(np.float16),
                reference_latents=reference,
            )
            writer.write(encode_clip(changed))
    configuration = configure(
        input="latents", data=str(tmp_path / "cached"), batch_size=64, noise=0.0
    )
    held = read_latents(configuration, "train", 15)
    batch = LatentBatches(held, configuration)(0, 0, 1)
    latents, references = (batch[name][:, 0, 0, 0].numpy() for name in ("sample", "reference"))
    assert set(latents // 100) == {0, 1, 2}
    assert np.array_equal(references, np.array([-1, 100, -3])[(latents // 100).astype(int)])
    expression = select_coefficients(held.expression).numpy()
    for latent, row in zip(latents, batch["expression"].numpy(), strict=True):
        assert np.array_equal(row, expression[held.latents[:, 0, 0, 0] == latent][0])


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(configure: Configure) -> None:
    options = {"steps": 20, "checkpoint_every": 4, "validate_every": 7}
    check_resumption(
        "expression",
        configure("whole", **options),
        configure("broken", **options),
        "expression_encoder",
    )


def test_augmentation_changes_a_frame_but_keeps_its_place(configure: Configure) -> None:
    frame = torch.zeros(3, 32, 32)
    frame[:, 8:24, 8:24] = 1
    still = configure(noise=0.0, blur=1.0, colour=0.0, shift=0.0)
    assert torch.allclose(augment_frame(frame, still, np.random.default_rng(0)), frame, atol=1e-5)
    changed = [augment_frame(frame, configure(), np.random.default_rng(seed)) for seed in (1, 2)]
    assert (changed[0] - changed[1]).abs().mean() > 0.01
    for each in changed:
        assert np.corrcoef(each.flatten(), frame.flatten())[0, 1] > 0.8
