"""`--style` takes a name, a file, a clip or a schedule, and says what is wrong with others."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from svp_diffusers.errors import MediaError, StyleError
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.pipelines.style_schedule_svp import StyleSchedule
from svp_diffusers.style.parse import parse_style


def constant(value: float) -> StyleDistribution:
    return StyleDistribution(torch.full((16,), value), torch.full((16,), 0.5), encoder_id="e")


@pytest.fixture
def encoder() -> StyleEncoder:
    encoder = StyleEncoder.tiny(encoder_id="e")
    encoder.add_style("neutral", constant(0.0))
    encoder.add_style("happy", constant(1.0))
    return encoder


def no_clip(path: Path) -> StyleDistribution:
    raise MediaError(f"{path} does not exist")


def test_a_name_a_file_and_a_clip(encoder: StyleEncoder, tmp_path: Path) -> None:
    happy = parse_style("happy", encoder, no_clip)
    assert isinstance(happy, StyleDistribution)
    assert happy.name == "happy"

    path = tmp_path / "bright, loud.style.safetensors"
    constant(3.0).save(path)
    loaded = parse_style(str(path), encoder, no_clip)
    assert isinstance(loaded, StyleDistribution)
    assert float(loaded.mean[0]) == 3.0

    clip = parse_style("smile.mp4", encoder, lambda path: constant(4.0))
    assert isinstance(clip, StyleDistribution)
    assert float(clip.mean[0]) == 4.0

    assert parse_style("from_audio", encoder, no_clip) == "from_audio"


def test_a_schedule(encoder: StyleEncoder) -> None:
    keys = parse_style("0:neutral, 2.5:happy,4:prior", encoder, no_clip)
    assert isinstance(keys, list)
    assert [(second, style.name) for second, style in keys] == [
        (0.0, "neutral"),
        (2.5, "happy"),
        (4.0, "prior"),
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("merry", StyleError, r"unknown style 'merry'; known here: neutral, happy, prior"),
        ("0:neutral,happy", StyleError, "not SECONDS:STYLE"),
        ("1:neutral", StyleError, "begins at 0"),
        ("0:neutral,2:happy,1:neutral", StyleError, "must increase"),
        ("gone.mat", MediaError, "does not exist"),
        ("gone.style.safetensors", MediaError, "does not exist"),
    ],
)
def test_what_cannot_be_meant(
    encoder: StyleEncoder, text: str, error: type[ValueError], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse_style(text, encoder, no_clip)


def test_a_style_of_another_encoder_is_refused(encoder: StyleEncoder, tmp_path: Path) -> None:
    path = tmp_path / "a.style.safetensors"
    StyleDistribution(torch.zeros(16), torch.ones(16), encoder_id="other").save(path)
    with pytest.raises(StyleError, match="made by encoder other, this is encoder e"):
        parse_style(str(path), encoder, no_clip)


def test_a_schedule_holds_and_cross_fades() -> None:
    keys = [(0.0, constant(0.0)), (2.0, constant(1.0))]
    means = [style.mean for _, style in keys]
    levels = StyleSchedule(keys, fade=0.5).blend(means, 100, Fraction(25))[:, 0]
    assert torch.all(levels[:51] == 0)
    assert float(levels[55]) == pytest.approx(0.4)  # 0.2 s into a fade of 0.5 s
    assert torch.all(levels[63:] == 1)
    assert torch.all(levels.diff() >= 0)
    # 0.08 per frame is the fade's slope: 1 in 0.5 s at 25 fps.
    assert float(levels.diff().max()) <= 0.08 + 1e-6


def test_a_fade_takes_time() -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        StyleSchedule([(0.0, constant(0.0))], fade=0)
