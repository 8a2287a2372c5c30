"""Batches of clips that memory holds: what `DenoisingBatches` reads, drawn without reading."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.training.denoiser.batches import CONDITIONS, DenoisingBatches
from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration
from svp_diffusers.training.denoiser.held_batches import HeldBatches, HeldClips, hold_clips

FRAMES = 5


def configure(**options: Any) -> ImageTrainingConfiguration:
    given = {"clips_per_batch": 6, "frames_per_clip": 3, **options}
    return ImageTrainingConfiguration(data="", pipeline="", output_dir="", **given)


@pytest.fixture(scope="module")
def read(cached: Path) -> DenoisingBatches:
    encoder = StyleEncoder.tiny(expression_dim=52, expression_space="arkit52")
    with pytest.warns(UserWarning, match="hold no style of"):
        return DenoisingBatches(ClipDataset(str(cached), "train"), encoder, configure(), 2, False)


@pytest.fixture(scope="module")
def held(read: DenoisingBatches) -> HeldClips:
    return hold_clips(read, FRAMES)


def test_frames_are_held_as_they_are_read_spread_over_the_clip(
    read: DenoisingBatches, held: HeldClips
) -> None:
    length = read.dataset.entries[3].header["frames"]
    frames = read.read_frames(3, np.arange(FRAMES) * length // FRAMES)
    assert torch.equal(held.latents[3].float(), frames["latents"])
    for name in ("audio_windows", "head_keypoints", "expression"):
        assert torch.equal(getattr(held, name)[3], frames[name]), name
    assert torch.equal(held.style[3], torch.stack(read.read_style(3)))


def test_a_batch_has_the_members_and_shapes_of_one_that_is_read(
    read: DenoisingBatches, held: HeldClips
) -> None:
    drawn, expected = HeldBatches(held, configure())(0, 0, 1), read(0, 0, 1)
    shapes = {name: (value.shape, value.dtype) for name, value in expected.items()}
    assert {name: (value.shape, value.dtype) for name, value in drawn.items()} == {
        **shapes,
        "timesteps": (torch.Size([6]), torch.float32),
    }


def test_what_belongs_to_a_frame_stays_with_it(held: HeldClips) -> None:
    certain = torch.stack([held.style[:, 0], torch.zeros_like(held.style[:, 0])], dim=1)
    batch = HeldBatches(replace(held, style=certain), configure())(4, 0, 1)
    for row in range(6):
        for frame in range(3):
            latents = batch["latents"][row, :, frame]
            same = (held.latents.float() == latents).flatten(2).all(2)
            clip, place = (int(each) for each in same.nonzero()[0])
            assert torch.equal(batch["expression"][row, frame], held.expression[clip, place])
            assert torch.equal(batch["audio_windows"][row, frame], held.audio_windows[clip, place])
            assert torch.equal(
                batch["head_keypoints"][row, frame], held.head_keypoints[clip, place]
            )
        assert torch.equal(batch["style"][row], held.style[clip, 0])
        assert torch.equal(batch["reference_keypoints"][row], held.reference_keypoints[clip])
        assert torch.equal(batch["reference_latents"][row], held.reference_latents[clip].float())


def test_a_number_draws_the_same_batch_and_others_another(held: HeldClips) -> None:
    batches = HeldBatches(held, configure())
    first, again, next_one = batches(2, 0, 1), batches(2, 0, 1), batches(3, 0, 1)
    other_seed = HeldBatches(held, configure(seed=1))(2, 0, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["noise"], next_one["noise"])
    assert not torch.equal(first["noise"], other_seed["noise"])
    assert not torch.equal(batches(2, 0, 2)["noise"], batches(2, 1, 2)["noise"])
    assert len(batches(2, 0, 2)["latents"]) == 3


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_is_left_out_as_often_as_asked(held: HeldClips, name: str) -> None:
    none = {f"{each}_dropout": 0.0 for each in CONDITIONS} | {"joint_dropout": 0.0}

    def count(**options: float) -> dict[str, float]:
        batches = HeldBatches(held, configure(clips_per_batch=20, **none | options))
        drawn = [batches(number, 0, 1) for number in range(40)]
        return {
            each: float(torch.cat([batch[f"keep_{each}"] for batch in drawn]).mean())
            for each in CONDITIONS
        }

    alone = count(**{f"{name}_dropout": 0.3})
    assert alone.pop(name) == pytest.approx(0.7, abs=0.06)
    assert set(alone.values()) == {1.0}
    together = set(count(joint_dropout=0.3).values())
    assert len(together) == 1
    assert together.pop() == pytest.approx(0.7, abs=0.06)


def test_batches_that_cannot_be_drawn_are_refused(read: DenoisingBatches, held: HeldClips) -> None:
    with pytest.raises(ConfigurationError, match="24 clips are held, fewer than clips"):
        HeldBatches(held, configure(clips_per_batch=25))
    with pytest.raises(ConfigurationError, match="does not divide among 4 processes"):
        HeldBatches(held, configure())(0, 0, 4)
    with pytest.raises(ConfigurationError, match="has 20 frames, fewer than the 21 to hold"):
        hold_clips(read, 21)


def test_training_from_memory_needs_no_media_library() -> None:
    """A machine with a GPU may have no PyAV."""
    code = (
        "import sys; sys.modules.update(av=None, soundfile=None, librosa=None)\n"
        "import svp_diffusers.training.denoiser.held_batches\n"
        "import svp_diffusers.training.denoiser.objective\n"
        "import svp_diffusers.training.expression.stage\n"
        "import svp_diffusers.training.vae.stage\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
