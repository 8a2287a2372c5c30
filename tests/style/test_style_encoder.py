"""A style encoder takes clips of any length with either modality, and keeps a bank of styles."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from svp_diffusers.errors import ExpressionError, MediaError
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.audio import Recording
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.sound_svp import StoredSound
from svp_diffusers.style.encode import encode_style


@pytest.fixture
def encoder() -> StyleEncoder:
    torch.manual_seed(0)
    return StyleEncoder.tiny(encoder_id="tiny-0").eval()


def clip(frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    expression = torch.randn(1, frames, 64, generator=generator)
    return expression, torch.randn(1, 2 * frames, 32, generator=generator)


@pytest.mark.parametrize("modalities", ["both", "expression", "audio"])
@pytest.mark.parametrize("frames", [5, 40, 150])
def test_either_modality_and_any_length_gives_a_finite_style(
    encoder: StyleEncoder, modalities: str, frames: int
) -> None:
    expression, audio = clip(frames)
    style = encoder(
        expression if modalities != "audio" else None, audio if modalities != "expression" else None
    )
    assert style.mean.shape == style.std.shape == (1, 16)
    assert style.mean.isfinite().all()
    assert (style.std > 0).all()
    assert style.encoder_id == "tiny-0"


def test_a_masked_modality_is_a_missing_one_and_padding_changes_nothing(
    encoder: StyleEncoder,
) -> None:
    expression, audio = clip(40)
    alone = encoder(audio=audio)
    masked = encoder(expression, audio, expression_mask=torch.zeros(1, 40, dtype=torch.bool))
    torch.testing.assert_close(masked.mean, alone.mean)

    padded = torch.cat([expression, torch.full((1, 20, 64), 7.0)], dim=1)
    mask = torch.arange(60)[None] < 40
    torch.testing.assert_close(encoder(padded, expression_mask=mask).mean, encoder(expression).mean)


def test_a_row_of_a_batch_equals_its_own_run(encoder: StyleEncoder) -> None:
    first, second = clip(40, seed=1), clip(40, seed=2)
    both = encoder(torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]))
    torch.testing.assert_close(both[1].mean, encoder(*second).mean[0])
    assert len(both) == 2


def test_audio_changes_the_style_of_a_clip(encoder: StyleEncoder) -> None:
    expression, audio = clip(40)
    difference = encoder(expression, audio).mean - encoder(expression, audio + 1.0).mean
    assert difference.abs().max() > 1e-3


def test_a_long_clip_is_the_precision_weighted_pool_of_its_windows(encoder: StyleEncoder) -> None:
    expression, _ = clip(120)  # two windows of 60, the limit being 64
    windows = [encoder(expression[:, :60]), encoder(expression[:, 60:])]
    precisions = torch.stack([window.std**-2 for window in windows])
    means = torch.stack([window.mean for window in windows])
    long = encoder(expression)
    torch.testing.assert_close(long.mean, (precisions * means).sum(0) / precisions.sum(0))
    torch.testing.assert_close(long.std, precisions.mean(0) ** -0.5)


def test_a_long_voice_is_the_precision_weighted_pool_of_its_windows(encoder: StyleEncoder) -> None:
    _, audio = clip(120)  # two vectors a frame
    windows = [encoder(audio=audio[:, :120]), encoder(audio=audio[:, 120:])]
    precisions = torch.stack([window.std**-2 for window in windows])
    means = torch.stack([window.mean for window in windows])
    long = encoder(audio=audio)
    torch.testing.assert_close(long.mean, (precisions * means).sum(0) / precisions.sum(0))
    torch.testing.assert_close(long.std, precisions.mean(0) ** -0.5)


def test_too_few_valid_frames_is_an_error(encoder: StyleEncoder) -> None:
    with pytest.raises(ValueError, match="too few valid frames"):
        encoder(clip(4)[0])
    with pytest.raises(ValueError, match="too few valid frames"):
        encoder(clip(40)[0], expression_mask=torch.arange(40)[None] < 4)
    with pytest.raises(ValueError, match="give `expression`"):
        encoder()
    with pytest.raises(ValueError, match=r"must be \(batch, time, 64\)"):
        encoder(torch.zeros(1, 40, 52))


def test_a_clip_is_long_enough_from_the_frames_on_that_a_style_needs(
    encoder: StyleEncoder,
) -> None:
    least = encoder.config.min_frames
    for frames in (least - 1, least):
        values = np.zeros((frames, 64), np.float32)
        expressions = Expressions(values, "bfm64", Fraction(25), "clip")
        sound = 0.1 * np.ones((1, 640 * frames), np.float32)

        def hear(speech: StoredSound) -> np.ndarray:
            samples = sum(map(len, speech.waveform(16000)))
            return np.zeros((samples // 320, 32), np.float32)

        options = {"recording": Recording(sound, 16000, "clip"), "audio_features": hear}
        if frames < least:
            with pytest.raises(ExpressionError, match=f"needs at least {least}"):
                encode_style(encoder, expressions)
            with pytest.raises(MediaError, match="needs at least"):
                encode_style(encoder, **options)
        else:
            assert encode_style(encoder, expressions).mean.isfinite().all()
            assert encode_style(encoder, **options).mean.isfinite().all()


def test_a_silent_recording_has_no_style(encoder: StyleEncoder) -> None:
    silence = Recording(np.zeros((1, 32000), np.float32), 16000, "hush.wav")
    with pytest.raises(MediaError, match=r"hush\.wav is silent"):
        encode_style(encoder, None, silence, lambda speech: np.zeros((100, 32), np.float32))


def test_half_precision_stays_finite(encoder: StyleEncoder) -> None:
    style = encoder.to(torch.bfloat16)(*(part.bfloat16() for part in clip(150)))
    assert style.mean.dtype == torch.bfloat16
    assert style.mean.isfinite().all()


@pytest.mark.parametrize(("bias", "bound"), [(-100.0, -5.0), (100.0, 2.0)])
def test_no_style_is_a_point_or_everything(
    encoder: StyleEncoder, bias: float, bound: float
) -> None:
    torch.nn.init.constant_(encoder.to_log_std.bias, bias)
    style = encoder(*clip(40))
    torch.testing.assert_close(style.std, torch.full((1, 16), bound).exp())


def test_the_bank_travels_with_the_weights(encoder: StyleEncoder, tmp_path: Path) -> None:
    happy = StyleDistribution(torch.full((16,), 1.0), torch.full((16,), 0.5), encoder_id="tiny-0")
    neutral = StyleDistribution(torch.zeros(16), torch.ones(16))
    encoder.add_style("happy", happy)
    encoder.style_bank.add("neutral", neutral)
    encoder.save_pretrained(tmp_path)
    loaded = StyleEncoder.from_pretrained(tmp_path)
    assert list(loaded.style_bank) == ["happy", "neutral"]
    torch.testing.assert_close(loaded.get_style("happy").std, happy.std)
    near = StyleDistribution(torch.full((16,), 0.9), torch.full((16,), 0.5), encoder_id="tiny-0")
    name, distance = loaded.style_bank.nearest(near)
    assert name == "happy"
    assert distance == pytest.approx(0.4, abs=1e-5)  # 0.1 in each of 16 dimensions

    loaded.remove_style("happy")
    assert list(loaded.style_bank) == ["neutral"]
    torch.testing.assert_close(loaded.get_style("neutral").mean, neutral.mean)
    assert "happy" not in loaded.style_bank
    with pytest.raises(ValueError, match=r"^unknown style 'happy'.*neutral"):
        loaded.get_style("happy")


def test_an_encoder_without_styles_survives_saving(encoder: StyleEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    loaded = StyleEncoder.from_pretrained(tmp_path)
    assert not loaded.style_bank
    torch.testing.assert_close(loaded(clip(40)[0]).mean, encoder(clip(40)[0]).mean)


def test_a_style_of_another_encoder_is_refused(encoder: StyleEncoder) -> None:
    style = StyleDistribution(torch.zeros(16), torch.ones(16), encoder_id="other")
    with pytest.raises(ValueError, match="made by encoder other"):
        encoder.add_style("happy", style)
    with pytest.raises(ValueError, match="different spaces"):
        encoder.prior().interpolate(style, 0.5)
