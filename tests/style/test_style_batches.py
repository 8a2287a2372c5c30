"""Batches are balanced, the same for any number of processes, and their loss is its definition."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from svp_diffusers.data.shards import ClipSample, ShardWriter, encode_clip
from svp_diffusers.data.style_clips import read_style_clips
from svp_diffusers.errors import ConfigurationError, DatasetError, ExpressionError
from svp_diffusers.speech.features import extract_log_mel
from svp_diffusers.training.loop.yaml_file import load_configuration
from svp_diffusers.training.style.batches import StyleBatchSampler
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
from svp_diffusers.training.style.objective import contrastive_loss
from svp_diffusers.training.style.stage import read_training_clips

Configure = Callable[..., StyleTrainingConfiguration]


@pytest.fixture
def sampler(configure: Configure) -> StyleBatchSampler:
    configuration = configure(classes_per_batch=4)
    return StyleBatchSampler(read_training_clips(configuration), configuration)


def test_batches_are_balanced_over_speakers_and_styles(sampler: StyleBatchSampler) -> None:
    styles = Counter()
    names = {number: label for label, number in sampler.labels.items()}
    for number in range(60):
        classes = Counter(sampler.batch(number).labels.tolist())
        assert set(classes.values()) == {2}
        speakers = Counter(names[label][0] for label in classes)
        assert len(speakers) == 3
        assert max(speakers.values()) - min(speakers.values()) == 1  # 4 classes of 3 speakers
        styles.update(names[label][1] for label in classes)
    # 120 each expected; the last class of a batch is what its speaker has left: 5 deviations.
    assert abs(styles["calm"] - 120) < 5 * 60**0.5


def test_processes_share_the_batch_that_one_would_have(sampler: StyleBatchSampler) -> None:
    whole = sampler.batch(7)
    halves = [sampler.batch(7, rank, 2) for rank in range(2)]
    assert torch.equal(whole.labels, torch.cat([half.labels for half in halves]))
    assert torch.equal(whole.noise, torch.cat([half.noise for half in halves]))
    for row, half in ((0, halves[0]), (4, halves[1])):
        length = int(whole.expression_mask[row].sum())
        assert torch.equal(whole.expression[row, :length], half.expression[0, :length])
    assert not torch.equal(whole.noise, sampler.batch(8).noise)
    with pytest.raises(ConfigurationError, match="cannot be shared by 3"):
        sampler.batch(0, 0, 3)


def test_windows_vary_in_length_and_modalities_go_missing(sampler: StyleBatchSampler) -> None:
    lengths, kinds = set(), Counter()
    for number in range(60):
        batch = sampler.batch(number)
        seen, heard = batch.expression_mask.sum(1), batch.audio_mask.sum(1)
        lengths.update(seen.tolist())
        kinds.update(zip((seen > 0).tolist(), (heard > 0).tolist(), strict=True))
        assert torch.all((seen >= 10) | (heard >= 20))
    assert {10, 30} <= lengths
    assert set(kinds) == {(True, True), (True, False), (False, True)}


@pytest.mark.parametrize("lost", ["expression", "audio", None])
def test_a_window_with_sound_loses_what_it_is_asked_to_lose(
    configure: Configure, lost: str | None
) -> None:
    dropout = {f"{name}_dropout": float(name == lost) for name in ("expression", "audio")}
    configuration = configure(classes_per_batch=4, **dropout)
    sampler = StyleBatchSampler(read_training_clips(configuration), configuration)
    batches = [sampler.batch(number) for number in range(4)]
    seen = torch.cat([batch.expression_mask.any(1) for batch in batches])
    heard = torch.cat([batch.audio_mask.any(1) for batch in batches])
    assert heard.any() == (lost != "audio")
    assert torch.equal(~seen, heard if lost == "expression" else torch.zeros_like(seen))


def test_sound_and_expressions_of_a_window_are_of_one_moment(configure: Configure) -> None:
    configuration = configure(
        classes_per_batch=4, expression_noise=0.0, expression_dropout=0.0, audio_dropout=0.0
    )
    clips = read_training_clips(configuration)
    batch = StyleBatchSampler(clips, configuration).batch(0)
    checked = 0
    for row in np.flatnonzero(batch.audio_mask.any(1)):
        seen = batch.expression[row, batch.expression_mask[row]].numpy()
        heard = batch.audio[row, batch.audio_mask[row]].numpy()
        ((clip, start),) = [
            (clip, frame)
            for clip in clips
            for frame, values in enumerate(clip.expressions.values)
            if np.allclose(values, seen[0])
        ]
        assert clip.audio is not None
        np.testing.assert_array_equal(heard, clip.audio[2 * start : 2 * (start + len(seen))])
        checked += 1
    assert checked


def test_windows_differ_from_the_truth_as_what_is_read_from_pictures_does(
    configure: Configure,
) -> None:
    def draw(**options: float) -> torch.Tensor:
        options = {"classes_per_batch": 4, "expression_noise": 0.0, **options}
        configuration = configure(expression_dropout=0.0, audio_dropout=0.0, **options)
        sampler = StyleBatchSampler(read_training_clips(configuration), configuration)
        return sampler.batch(0).expression[0, :10]

    true = draw()
    moved = draw(offset_noise=0.5) - true
    assert moved.std(dim=0).max() < 1e-5  # one offset for the whole window
    assert moved.std() > 0.01
    stretched = draw(scale_noise=0.5) / true
    assert stretched.std(dim=0).max() < 1e-4
    assert stretched.std() > 0.05
    missing = (draw(coefficient_dropout=0.5) == 0).float().mean(dim=0)
    assert set(missing.tolist()) == {0.0, 1.0}


def test_the_loss_is_its_definition_written_out() -> None:
    samples = torch.nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=-1)
    labels = [0, 0, 1, 1, 1, 2]
    expected = []
    for i in range(5):
        others = [j for j in range(6) if j != i]
        scores = {j: math.exp(float(samples[i] @ samples[j]) / 0.3) for j in others}
        positives = [j for j in others if labels[j] == labels[i]]
        expected.append(
            -sum(math.log(scores[j] / sum(scores.values())) for j in positives) / len(positives)
        )
    whole = torch.tensor(labels)
    loss = contrastive_loss(samples[:5], samples, whole[:5], whole, 0, 0.3)
    assert float(loss) == pytest.approx(np.mean(expected))


def test_mistakes_in_the_yaml_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"

    def load(text: str) -> StyleTrainingConfiguration:
        path.write_text(text)
        return load_configuration(path, StyleTrainingConfiguration)

    assert load("data: a.csv\noutput_dir: b\nlearning_rate: 1").learning_rate == 1.0
    for text, message in (
        ("data: a\noutput_dir: b\nlearning_rates: 1", "unknown learning_rates"),
        ("data: a", "missing output_dir"),
        ("data: a\noutput_dir: b\nsteps: many", "steps must be int, not 'many'"),
        ("data: a\noutput_dir: b\nwindows_per_class: 1", "leaves no positive"),
        ("data: a\noutput_dir: b\nexpression_space: flame", "must be one of bfm64, arkit52"),
        ("- a", "must be a mapping"),
        ("a: [", "is not YAML"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            load(text)


def test_clips_are_read_from_shards_too(tmp_path: Path) -> None:
    expression = np.random.default_rng(0).random((60, 52), dtype=np.float32)
    with ShardWriter(tmp_path / "talkers") as writer:
        for split in ("train", "test"):
            sample = ClipSample(
                key=f"ann-{split}",
                fps=Fraction(30),
                waveform=np.full(32000, 0.1, np.float32),
                frames=np.zeros((60, 8, 8, 3), np.uint8),
                expression=expression,
                expression_space="arkit52",
                metadata={"split": split, "speaker": "ann", "emotion": "happy"},
            )
            writer.write(encode_clip(sample))
    (clip,) = read_style_clips(str(tmp_path / "talkers"), None, "arkit52", extract_log_mel, "train")
    assert (clip.key, clip.label) == ("ann-train", ("ann", "happy"))
    assert clip.expressions.values.shape == (50, 52)
    assert clip.audio is not None
    assert clip.audio.shape == (100, 80)


def test_data_that_cannot_be_trained_on_is_refused(
    configure: Configure, manifest: Path, tmp_path: Path
) -> None:
    clips = read_training_clips(configure())
    with pytest.raises(ConfigurationError, match=r"has 6 \(speaker, style\) classes"):
        StyleBatchSampler(clips, configure(classes_per_batch=7))
    with pytest.raises(DatasetError, match="has bfm64 expressions, arkit52 is wanted"):
        read_style_clips(str(manifest), None, "arkit52", extract_log_mel, "train")
    (tmp_path / "bad.csv").write_text("clip,speaker\na.npz,ann\n")
    with pytest.raises(DatasetError, match="exactly the columns"):
        read_style_clips(str(tmp_path / "bad.csv"), None, "bfm64", extract_log_mel, "train")
    np.savez(tmp_path / "nan.npz", expression=np.full((50, 64), np.nan), space="bfm64", fps=25)
    (tmp_path / "nan.csv").write_text("expressions,audio,fps,speaker,style\nnan.npz,,,ann,calm\n")
    with pytest.raises(ExpressionError, match="NaN"):
        read_style_clips(str(tmp_path / "nan.csv"), None, "bfm64", extract_log_mel, "train")
