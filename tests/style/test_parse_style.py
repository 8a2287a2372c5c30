"""`--style` takes a name, a file, a clip or a schedule, and says what is wrong with others."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from svp_diffusers.errors import MediaError, StyleError
from svp_diffusers.generation.styles import check_styles
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.style_schedule_svp import StyleSchedule
from svp_diffusers.style.parse import StyleEntry, format_styles, parse_style


def constant(value: float) -> StyleDistribution:
    return StyleDistribution(torch.full((16,), value), torch.full((16,), 0.5), encoder_id="e")


@pytest.fixture
def encoder() -> StyleEncoder:
    encoder = StyleEncoder.tiny(encoder_id="e")
    encoder.add_style("neutral", constant(0.0))
    encoder.add_style("happy", constant(1.0))
    return encoder


NAMES = ("neutral", "happy", "odd.wav")


def test_a_name_a_file_and_a_clip() -> None:
    for text in ("happy", "prior", "from_audio", "odd.wav"):  # a name goes before a file
        assert parse_style(text, NAMES) == [StyleEntry(0.0, text, None)]
    for text in ("a folder/bright, loud.style.safetensors", "smile.mp4", "other.wav", "c.MAT"):
        (entry,) = parse_style(text, NAMES)
        assert entry == StyleEntry(0.0, text, Path(text))
        assert entry.is_style_file == text.endswith(".safetensors")
    assert parse_style(None, NAMES) == []


def test_a_schedule() -> None:
    entries = parse_style("0:neutral, 2.5:/a/b.wav,4:prior", NAMES)
    assert [(each.start, each.text) for each in entries] == [
        (0.0, "neutral"),
        (2.5, "/a/b.wav"),
        (4.0, "prior"),
    ]
    assert format_styles(entries) == "0:neutral,2.5:b.wav,4:prior"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merry", r"unknown style 'merry'; known here: neutral, happy, odd.wav, prior"),
        ("0:neutral,happy", "not SECONDS:STYLE"),
        ("1:neutral", "begins at 0"),
        ("0:neutral,2:happy,1:neutral", "must increase"),
    ],
)
def test_what_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(StyleError, match=message):
        parse_style(text, NAMES)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("gone.mat", MediaError, "does not exist"),
        ("gone.style.safetensors", MediaError, "does not exist"),
        ("other.style.safetensors", StyleError, "made by encoder other, this is encoder e"),
        ("0:neutral,2:happy", StyleError, "but the speech ends at 2.00 s"),
        ("from_audio", StyleError, "does not take the features of its pipeline"),
    ],
)
def test_what_does_not_fit_the_checkpoint_or_the_speech(
    encoder: StyleEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    error: type[ValueError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    other = StyleDistribution(torch.zeros(16), torch.ones(16), encoder_id="other")
    other.save("other.style.safetensors")
    encoder.register_to_config(audio_features="log-mel-80")
    with pytest.raises(error, match=message):
        check_styles(parse_style(text, encoder.style_bank), encoder, duration=2.0)


def test_a_schedule_holds_and_cross_fades() -> None:
    keys = [(0.0, constant(0.0)), (2.0, constant(1.0))]
    means = [style.mean for _, style in keys]
    levels = StyleSchedule(keys, fade=0.5).blend(means, range(100), Fraction(25))[:, 0]
    assert torch.all(levels[:51] == 0)
    assert float(levels[55]) == pytest.approx(0.4)  # 0.2 s into a fade of 0.5 s
    assert torch.all(levels[63:] == 1)
    assert torch.all(levels.diff() >= 0)
    # 0.08 per frame is the fade's slope: 1 in 0.5 s at 25 fps.
    assert float(levels.diff().max()) <= 0.08 + 1e-6


def test_a_fade_takes_time() -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        StyleSchedule([(0.0, constant(0.0))], fade=0)
