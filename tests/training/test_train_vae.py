"""The VAE of svp-tiny learns to draw faces, and a run that was killed goes on exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.data.cache import encode_frames
from svp_diffusers.data.frames import FrameDataset, to_pixels
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.measures.face_regions import locate_eyes, locate_mouth, weigh_face
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration
from svp_diffusers.training.vae.discriminator import build_discriminator
from svp_diffusers.training.vae.stage import (
    VAEBatches,
    build_vae,
    measure_scaling_factor,
    train_vae,
)
from training_runs import check_resumption, read_metrics

Configure = Callable[..., VAETrainingConfiguration]


@pytest.fixture
def configure(drawn_talkers: str, tmp_path: Path) -> Configure:
    """Make a configuration that trains in seconds; keywords override it."""

    def configure(output: str = "run", **options: Any) -> VAETrainingConfiguration:
        return VAETrainingConfiguration(
            **{
                "data": drawn_talkers,
                "output_dir": str(tmp_path / output),
                "base_channels": 16,
                "num_blocks": 2,
                "norm_num_groups": 8,
                "validation_frames": 8,
                "warmup_steps": 5,
                "log_every": 1,
                **options,
            }
        )

    return configure


def test_reconstructions_of_unseen_people_get_better(configure: Configure) -> None:
    configuration = configure(steps=160, validate_every=40)
    folder = train_vae(configuration)
    metrics = read_metrics(configuration)
    errors = [line["mse"] for line in metrics if "mse" in line]
    assert sum(errors[-20:]) < 0.5 * sum(errors[:20])
    # It is the same eight pictures each time; from 24 people little more than this can be learned.
    quality = [line["psnr"] for line in metrics if "psnr" in line]
    assert quality[-1] > quality[0] + 1

    vae = SpaceToDepthAutoencoderKL.from_pretrained(folder).eval()
    frames = FrameDataset(configuration.data, "train")
    latents = encode_frames(frames.read(frames.spread(60)).pixels, vae, 20)
    # Of unit size for the denoiser; other frames than those that gave the factor.
    assert latents.std() == pytest.approx(1, rel=0.05)


def test_a_decoder_is_trained_further_for_the_same_latents(
    configure: Configure, tmp_path: Path
) -> None:
    before = train_vae(configure("before", steps=40, validate_every=40))
    further = configure("further", steps=40, validate_every=40, decoder_of=str(before))
    after = train_vae(further)
    first, second = (SpaceToDepthAutoencoderKL.from_pretrained(each) for each in (before, after))
    assert second.config.scaling_factor == first.config.scaling_factor
    old, new = first.state_dict(), second.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed
    assert all(name.startswith(("decoder", "post_quant_conv")) for name in changed)
    assert read_metrics(further)[-1]["psnr"] > read_metrics(configure("before"))[-1]["psnr"]
    for option in ("patch_size", "norm_num_groups"):
        with pytest.raises(ConfigurationError, match=option):
            train_vae(configure("other", decoder_of=str(before), **{option: 4}))


def test_the_scale_of_latents_is_measured_on_few_frames(drawn_talkers: str, tmp_path: Path) -> None:
    clips = ClipDataset(drawn_talkers, "train")
    with ShardWriter(tmp_path / "few") as writer:
        writer.write(clips[0])
    frames = FrameDataset(str(tmp_path / "few"), "train")
    assert len(frames) == 10
    vae = SpaceToDepthAutoencoderKL(block_out_channels=(8, 8, 8), norm_num_groups=4).eval()
    with torch.no_grad():
        pixels = to_pixels(frames.read(np.arange(10)).pixels)
        expected = 1 / vae.encode(pixels).latent_dist.mode().std()
    assert measure_scaling_factor(vae, frames) == pytest.approx(float(expected), rel=1e-4)


def test_a_discriminator_and_its_opponent_learn_against_each_other(
    configure: Configure, tmp_path: Path
) -> None:
    configuration = configure()
    vae = build_vae(configuration, FrameDataset(configuration.data, "train"))
    discriminator = build_discriminator(0)
    real = torch.rand(2, 3, 64, 64) * 2 - 1
    made = vae.decode(vae.encode(real).latent_dist.mode()).sample
    discriminator.deceive(made).backward(retain_graph=True)
    assert all(weight.grad is None for weight in discriminator.parameters())
    assert next(vae.decoder.parameters()).grad.abs().sum() > 0
    vae.zero_grad()
    discriminator.judge(real, made).backward()
    assert all(weight.grad is not None for weight in discriminator.parameters())
    assert next(vae.decoder.parameters()).grad is None

    before = train_vae(configure("before", steps=5))
    options = {"steps": 30, "decoder_of": str(before), "adversarial_weight": 0.1}
    finished = configure("finished", **options)
    folder = train_vae(finished)
    judgements = [line["judgement"] for line in read_metrics(finished)]
    assert judgements[-1] < judgements[0]
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors"}
    saved = SpaceToDepthAutoencoderKL.from_pretrained(folder).state_dict()
    assert not any("discriminator" in name for name in saved)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(configure: Configure) -> None:
    options = {"steps": 20, "checkpoint_every": 4, "validate_every": 7}
    check_resumption("vae", configure("whole", **options), configure("broken", **options), "vae")


def test_processes_share_a_batch(configure: Configure) -> None:
    configuration = configure()
    batches = VAEBatches(FrameDataset(configuration.data, "train"), configuration)
    whole = batches(3, 0, 1)
    for rank in range(2):
        part = batches(3, rank, 2)
        for name, values in part.items():
            assert torch.equal(values, whole[name][3 * rank : 3 * rank + 3])
    with pytest.raises(ConfigurationError, match="cannot be shared"):
        batches(0, 0, 4)


def test_frames_are_those_of_the_clips(drawn_talkers: str) -> None:
    frames = FrameDataset(drawn_talkers, "train")
    assert len(frames) == 240
    batch = frames.read(np.array([0, 9, 10, 239]))
    for row, (clip, frame) in enumerate([(0, 0), (0, 9), (1, 0), (23, 9)]):
        sample = frames.clips[clip].decode(frame, frame + 1)
        for name in ("head_keypoints", "expression"):
            assert np.array_equal(getattr(batch, name)[row : row + 1], getattr(sample, name))
        assert sample.frames is not None
        assert np.array_equal(batch.pixels[row : row + 1], sample.frames)
    drawn, _ = frames.draw(12, [0], 0, 1, frames_per_clip=4)
    assert all(len(set(group // 10)) == 1 for group in drawn.reshape(3, 4))


def test_mouth_and_eyes_weigh_most() -> None:
    # A face upright and one turned by a quarter, eyes 32 pixels apart.
    upright = torch.zeros(8, 2)
    upright[6:] = torch.tensor([[48.0, 60.0], [80.0, 60.0]])
    lying = torch.zeros(8, 2)
    lying[6:] = torch.tensor([[60.0, 48.0], [60.0, 80.0]])
    keypoints = torch.stack([upright, lying])
    mouths, eyes = locate_mouth(keypoints, 128, 128), locate_eyes(keypoints, 128, 128)
    assert [bool(mouths[0, 0, y, 64]) for y in (92, 60)] == [True, False]
    assert [bool(mouths[1, 0, 64, x]) for x in (28, 60)] == [True, False]
    assert [bool(eyes[0, 0, 60, x]) for x in (48, 80)] == [True, True]
    assert not eyes[0, 0, 80, 64]
    weights = weigh_face(keypoints, 128, 128, face=2.0, mouth=4.0, eyes=3.0)
    points = [(2, 64), (112, 64), (92, 64), tuple(keypoints[0, 6].int().flip(0).tolist())]
    assert [float(weights[0, 0, y, x]) for y, x in points] == [1, 2, 4, 3]


def test_what_cannot_be_trained_is_refused(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="multiples of 64"):
        train_vae(configure(num_blocks=6))
    with pytest.raises(ConfigurationError, match="multiple of norm_num_groups"):
        configure(base_channels=20)
    with pytest.raises(ConfigurationError, match="adversarial_weight needs decoder_of"):
        configure(adversarial_weight=0.1)
    with pytest.raises(DatasetError, match="cannot read"):
        train_vae(configure(data=str(tmp_path / "absent")))
