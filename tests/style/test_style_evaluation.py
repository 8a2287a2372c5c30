"""The report on styles tells a representation that knows styles from one that does not."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from svp_diffusers.cli.main import app
from svp_diffusers.data.shards import ClipSample, ShardWriter, encode_clip
from svp_diffusers.data.style_clips import StyleClip, center_speakers, read_style_clips
from svp_diffusers.errors import DatasetError
from svp_diffusers.evaluation.style_encoder.evaluate import evaluate_style, format_report
from svp_diffusers.evaluation.style_encoder.metrics import (
    WindowLabels,
    correlate_width_with_spread,
    retrieve_across_recordings,
    retrieve_across_speakers,
    retrieve_within_recordings,
    tell_speakers,
)
from svp_diffusers.evaluation.style_encoder.representations import (
    Representation,
    cut_windows,
    represent_by_dynamics,
    represent_by_mean,
)
from svp_diffusers.expression.track import Expressions
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.speech.features import extract_log_mel


def make_labels() -> WindowLabels:
    """4 speakers x 3 styles x 2 recordings x 4 windows."""
    grid = np.array(
        [(s, e, r) for s in range(4) for e in range(3) for r in range(2) for _ in range(4)]
    )
    clip = np.repeat(np.arange(24), 4)
    speaker, style = grid[:, 0].astype(str), grid[:, 1].astype(str)
    return WindowLabels(clip, speaker, style, np.ones(len(clip), bool))


def represent(vectors: np.ndarray, widths: np.ndarray | None = None) -> Representation:
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    return Representation(
        "test", vectors, distances, np.ones(len(vectors)) if widths is None else widths
    )


def one_hot(values: np.ndarray) -> np.ndarray:
    return np.eye(values.astype(int).max() + 1)[values.astype(int)]


def test_vectors_of_styles_are_found_across_speakers_and_leak_no_speaker() -> None:
    labels = make_labels()
    noise = 0.1 * np.random.default_rng(0).normal(size=(96, 3))
    styles = represent(one_hot(labels.style) + noise)
    assert retrieve_across_speakers(styles, labels).value == 1
    assert retrieve_across_speakers(styles, labels).chance == pytest.approx(1 / 3)
    leak = tell_speakers(styles, labels)
    assert leak.chance == 0.25
    assert leak.low < 0.25 + 0.1  # noise of 96 windows in 24 clips


def test_vectors_of_speakers_leak_them_and_tell_no_style() -> None:
    labels = make_labels()
    noise = 0.1 * np.random.default_rng(0).normal(size=(96, 4))
    speakers = represent(one_hot(labels.speaker) + noise)
    assert tell_speakers(speakers, labels).value == 1
    across = retrieve_across_speakers(speakers, labels)
    assert across.low < across.chance < across.high


def test_vectors_of_recordings_pass_the_easy_measure_only() -> None:
    labels = make_labels()
    recordings = represent(one_hot(labels.clip))
    assert retrieve_within_recordings(recordings, labels).value == 1
    assert retrieve_across_recordings(recordings, labels).value < 0.3


def test_calibration_follows_the_true_spread_and_not_a_constant_or_inverse_width() -> None:
    labels = make_labels()
    spread = np.repeat(np.linspace(0.1, 2, 24), 4)
    vectors = spread[:, None] * np.random.default_rng(0).normal(size=(96, 16))
    assert correlate_width_with_spread(represent(vectors, spread), labels).value > 0.9
    assert correlate_width_with_spread(represent(vectors, 1 / spread), labels).value < -0.9


def test_clips_of_many_windows_are_not_taken_for_wide_ones() -> None:
    numbers, spreads = np.array([8, 2, 8, 2, 8, 2]), np.linspace(1, 1.5, 6)
    clip = np.repeat(np.arange(6), numbers)
    sides = np.concatenate([np.resize([-1, 1], number) for number in numbers])
    vectors = np.stack([sides * spreads[clip], np.zeros(len(clip))], axis=1)
    labels = WindowLabels(clip, clip.astype(str), clip.astype(str), np.ones(len(clip), bool))
    figure = correlate_width_with_spread(represent(vectors, spreads[clip]), labels)
    assert figure is not None
    assert figure.value == 1


def test_a_style_that_nobody_else_has_is_not_asked_for() -> None:
    labels = make_labels()
    style = np.where(labels.speaker == "0", "own", labels.style)
    alone = WindowLabels(labels.clip, labels.speaker, style, labels.query)
    across = retrieve_across_speakers(represent(one_hot(labels.style)), alone)
    assert across.number == 72  # of 96 windows, without the 24 of the first speaker


def test_what_the_clips_cannot_tell_is_not_given_a_number() -> None:
    one = WindowLabels(
        np.arange(4), np.array(list("aaaa")), np.array(list("wxyz")), np.ones(4, bool)
    )
    anything = represent(np.eye(4))
    assert retrieve_across_recordings(anything, one) is None
    assert retrieve_across_speakers(anything, one) is None
    assert tell_speakers(anything, one) is None


@pytest.fixture
def clips() -> list[StyleClip]:
    random = np.random.default_rng(0)
    clips = []
    for speaker in "ab":
        face = random.normal(size=64)
        for style in ("calm", "loud"):
            for take in range(2):
                values = face + (3 if style == "loud" else 1) * 0.1 * random.normal(size=(100, 64))
                key = f"{speaker}{style}{take}"
                expressions = Expressions(values.astype("f4"), "bfm64", Fraction(25), key)
                audio = random.normal(size=(190, 32)).astype("f4") if speaker == "a" else None
                clips.append(StyleClip(key, speaker, style, expressions, audio))
    return clips


def test_the_report_of_real_looking_clips(clips: list[StyleClip]) -> None:
    torch.manual_seed(0)
    report = evaluate_style(StyleEncoder.tiny(), center_speakers(clips), ["b"])
    assert (report.clips, report.windows) == (8, 16)
    across = report.figures["same style across speakers"]
    # The styles differ in nothing but how much the face moves.
    assert across["dynamics only"].value == 1
    assert across["mean only"].value < 1
    assert across["style encoder"].number == 8  # windows of speaker b
    text = format_report(report)
    assert "| same style across speakers |" in text
    assert [sample.modality for sample in report.samples] == [
        "expressions alone",
        "voice alone",
        "both",
    ]
    with pytest.raises(DatasetError, match="no clips of c; there are a, b"):
        evaluate_style(StyleEncoder.tiny(), clips, ["c"])


def test_samples_of_narrow_styles_lie_in_their_own_and_far_from_the_others(
    clips: list[StyleClip],
) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder.tiny().eval()
    torch.nn.init.constant_(encoder.to_log_std.bias, -4)
    _, _, both = evaluate_style(encoder, clips).samples
    assert both.own == pytest.approx(1, abs=0.1)
    assert both.other > 3
    assert both.nearest > 0.9
    assert both.clips == 4  # that have sound


def test_the_command_measures_centred_clips_of_the_test_split(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with ShardWriter(tmp_path / "data") as writer:
        for number, split in enumerate(["train", "train", "test", "test", "test", "train", "test"]):
            sample = ClipSample(
                key=f"clip{number}",
                fps=Fraction(25),
                waveform=random.normal(size=16000 * 4).astype("f4") * 0.1,
                frames=np.zeros((100, 8, 8, 3), np.uint8),
                expression=random.random((100, 52), dtype=np.float32) + number % 2,
                expression_space="arkit52",
                metadata={"split": split, "speaker": "ab"[number % 2], "emotion": "happy"},
            )
            writer.write(encode_clip(sample))
    encoder = StyleEncoder.tiny(
        **{"expression_dim": 52, "expression_space": "arkit52", "expression_centring": "speaker"},
        **{"audio_dim": 80, "audio_features": "log-mel-80"},
    ).eval()
    encoder.save_pretrained(tmp_path / "encoder")
    options = ["--model", tmp_path / "encoder", "--data", tmp_path / "data"]
    arguments = ["evaluate", "style", *options, "-o", tmp_path / "report.json"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    clips = read_style_clips(str(tmp_path / "data"), None, "arkit52", extract_log_mel, "test")
    (spoken, *_) = evaluate_style(encoder, center_speakers(clips)).samples
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["clips"] == 4
    assert report["samples"][0]["other"] == pytest.approx(spoken.other)


def test_the_width_of_a_plain_window_is_how_much_the_face_moves(clips: list[StyleClip]) -> None:
    windows = cut_windows(clips)
    style = np.array([clips[number].style for number in windows.clip])
    for represent_plainly in (represent_by_mean, represent_by_dynamics):
        widths = represent_plainly(windows).widths
        assert widths.shape == (16,)
        assert widths[style == "loud"].mean() == pytest.approx(
            3 * widths[style == "calm"].mean(), rel=0.05
        )


def test_centring_takes_the_face_away(clips: list[StyleClip]) -> None:
    centred = center_speakers(clips)
    for speaker in "ab":
        means = [c.expressions.values.mean(0) for c in centred if c.speaker == speaker]
        np.testing.assert_allclose(np.mean(means, axis=0), 0, atol=1e-6)
