"""Training of the style prior: it learns, goes on exactly where it was interrupted, and does the
same in two processes as in one."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from svp_diffusers.errors import CheckpointError, ConfigurationError, MissingDependencyError
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
from svp_diffusers.training.style.stage import (
    build_encoder,
    fill_style_bank,
    read_training_clips,
    train_style,
)
from training_runs import check_resumption, read_metrics, read_weights, train_in_two_processes

Configure = Callable[..., StyleTrainingConfiguration]


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps one state a process; every test here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


def test_training_lowers_the_loss_and_gives_an_encoder_with_named_styles(
    configure: Configure,
) -> None:
    configuration = configure(steps=60)
    folder = train_style(configuration)
    losses = [line["contrastive"] for line in read_metrics(configuration)]
    assert len(losses) == 60
    # Means of ten steps; 0.3 nats is well over the noise between batches.
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.3
    encoder = StyleEncoder.from_pretrained(folder)
    assert list(encoder.style_bank) == ["calm", "loud"]
    assert encoder.config.encoder_id == encoder.get_style("calm").encoder_id
    assert len(encoder.config.encoder_id) == 16
    assert encoder.config.audio_features == "log-mel-80"


def test_a_named_style_is_as_wide_as_its_clips_are_and_lie_apart(configure: Configure) -> None:
    configuration = configure()
    clips = read_training_clips(configuration)
    encoder = build_encoder(configuration, clips).eval()
    torch.nn.init.constant_(encoder.to_log_std.bias, -2)  # narrower than they lie apart
    fill_style_bank(encoder, clips)
    generator = torch.Generator().manual_seed(0)
    for name in ("calm", "loud"):
        samples = []
        for clip in clips:
            if clip.style == name:
                audio = None if clip.audio is None else torch.from_numpy(clip.audio)[None]
                with torch.no_grad():
                    style = encoder(torch.from_numpy(clip.expressions.values)[None], audio)[0]
                samples.append(style.sample(4000, generator=generator))
        every = torch.cat(samples)  # 24,000 of 8 numbers
        own = torch.stack([each.std(0) for each in samples]).mean(0)
        found = encoder.get_style(name)
        torch.testing.assert_close(found.mean, every.mean(0), atol=0.03, rtol=0)
        torch.testing.assert_close(found.std, every.std(0), atol=0, rtol=0.03)
        assert (every.std(0) / own).max() > 1.5


def test_a_speakers_mean_is_subtracted_if_asked(configure: Configure) -> None:
    clips = read_training_clips(configure(expression_centring="speaker"))
    for speaker in ("ann", "bob", "eve"):
        means = [clip.expressions.values.mean(0) for clip in clips if clip.speaker == speaker]
        np.testing.assert_allclose(np.mean(means, axis=0), 0, atol=1e-6)
    as_they_are = read_training_clips(configure())
    assert np.abs(as_they_are[0].expressions.values.mean(0)).max() > 0.5


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(configure: Configure) -> None:
    whole, broken = configure("whole", steps=40), configure("broken", steps=40)
    check_resumption("style", whole, broken, "style_encoder")


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(configure: Configure) -> None:
    one, two = configure("one", steps=10), configure("two", steps=10)
    train_style(one)
    train_in_two_processes("style", two)
    # Sums over a batch are taken in another order: errors of 1e-7, which ten steps amplify.
    for alone, together in zip(read_metrics(one), read_metrics(two), strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    # Weights whose gradient is zero but for rounding move at random under Adam; styles do not.
    torch.testing.assert_close(
        read_weights(two, "style_encoder")["bank"],
        read_weights(one, "style_encoder")["bank"],
        atol=1e-4,
        rtol=1e-3,
    )


def test_accumulated_batches_and_half_precision_train(configure: Configure) -> None:
    configuration = configure(steps=3, gradient_accumulation=2, mixed_precision="bf16")
    train_style(configuration)
    assert all(line["loss"] < 10 for line in read_metrics(configuration))


def test_tensorboard_gets_the_metrics(configure: Configure) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    configuration = configure(steps=2, tracker="tensorboard")
    train_style(configuration)
    assert list(Path(configuration.output_dir).rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_installed_is_named(configure: Configure) -> None:
    if find_spec("wandb"):
        pytest.skip("wandb is installed here")
    with pytest.raises(MissingDependencyError, match=r"svp-diffusers\[wandb\]"):
        train_style(configure(tracker="wandb"))
    with pytest.raises(ConfigurationError, match="tensorboard, wandb"):
        configure(tracker="paper")


def test_a_run_is_not_overwritten_nor_resumed_with_other_options(configure: Configure) -> None:
    with pytest.raises(CheckpointError, match="no run to resume"):
        train_style(configure(), resume=True)
    train_style(configure(steps=2))
    with pytest.raises(ConfigurationError, match="holds a run already"):
        train_style(configure(steps=2))
    with pytest.raises(ConfigurationError, match="is resumed with its own"):
        train_style(configure(steps=4), resume=True)
