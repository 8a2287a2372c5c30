"""What batches of stages 2 and 3 hold, and how little is read for them."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.data import loader
from svp_diffusers.data.cache import cache_dataset
from svp_diffusers.data.clips import ClipSample, encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.expression.track import Expressions
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.speech_svp import window_audio
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration

FRAMES = 250


def make_encoder(**options: Any) -> StyleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"expression_dim": 52, "expression_space": "arkit52"}
        return StyleEncoder.tiny(**{**sizes, **options}).eval()


def make_sample(number: int, frames: int = 20, fps: int = 25, **metadata: Any) -> ClipSample:
    """A clip as `svp data prepare` and `svp data cache` leave it: no reference, no identity."""
    random = np.random.default_rng(number)
    return ClipSample(
        key=f"clip{number}",
        fps=Fraction(fps),
        waveform=np.zeros(frames * 16000 // fps, np.float32),
        metadata={"split": "train", **metadata},
        head_keypoints=random.uniform(0, 32, (frames, 8, 2)).astype(np.float32),
        expression=random.uniform(0, 1, (frames, 52)).astype(np.float32),
        expression_space="arkit52",
        latents=random.normal(size=(frames, 4, 8, 8)).astype(np.float16),
        audio_embeddings=random.normal(size=(frames * 50 // fps - 1, 32)).astype(np.float16),
    )


Write = Callable[[Sequence[ClipSample]], ClipDataset]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A dataset of clips."""

    def write(samples: Sequence[ClipSample]) -> ClipDataset:
        with ShardWriter(tmp_path / "data") as writer:
            for sample in samples:
                writer.write(encode_clip(sample))
        return ClipDataset(str(tmp_path / "data"))

    return write


def make_batches(
    dataset: ClipDataset, encoder: StyleEncoder | None = None, **options: Any
) -> DenoisingBatches:
    configuration = ImageTrainingConfiguration(
        data="", pipeline="", output_dir="", **{"clips_per_batch": 1, **options}
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* hold no style of")
        if len(dataset) == 1:
            warnings.filterwarnings("ignore", ".* no other clip of the same person")
        return DenoisingBatches(dataset, encoder or make_encoder(), configuration, 2, False)


def find_source(dataset: ClipDataset, latents: torch.Tensor) -> int:
    """The clip that has these latents as a frame."""
    for index in range(len(dataset)):
        frames = torch.from_numpy(dataset[index].decode().latents).float()
        if (frames == latents).flatten(1).all(1).any():
            return index
    raise AssertionError("no clip has this frame")


def test_the_reference_of_prepared_video_is_of_another_clip_in_another_emotion(
    write: Write,
) -> None:
    people = [("ann", "happy"), ("ann", "sad"), ("bob", "sad"), ("bob", "sad"), ("ann", "happy")]
    dataset = write(
        [make_sample(i, speaker=who, emotion=how) for i, (who, how) in enumerate(people)]
    )
    batches = make_batches(dataset)
    sources = [
        {
            find_source(dataset, batches.draw_reference(index, np.random.default_rng(seed))[0])
            for seed in range(8)
        }
        for index in range(len(people))
    ]
    assert sources == [{1}, {0, 4}, {3}, {2}, {1}]


def test_faces_are_told_apart_by_identity_where_one_voice_has_several(write: Write) -> None:
    dataset = write([make_sample(i, speaker="one", identity=f"face{i % 2}") for i in range(4)])
    batches = make_batches(dataset)
    reference, _ = batches.draw_reference(0, np.random.default_rng(0))
    assert find_source(dataset, reference) == 2


def test_clips_without_a_reference_of_their_own_are_counted(write: Write) -> None:
    samples = [make_sample(0, speaker="ann"), make_sample(1, speaker="ann"), make_sample(2)]
    samples.append(make_sample(3, speaker=""))
    with pytest.warns(UserWarning, match="2 of the 4 clips of .* no other clip of the same person"):
        batches = make_batches(write(samples))
    assert find_source(batches.dataset, batches.draw_reference(2, np.random.default_rng(0))[0]) == 2


def test_nothing_is_warned_of_where_all_clips_have_references(write: Write) -> None:
    picture = np.zeros((4, 8, 8), np.float16)
    dataset = write([replace(make_sample(i), reference_latents=picture) for i in range(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_batches(dataset)


@pytest.mark.parametrize("fps", [25, 30, 50])
def test_a_style_is_of_the_expression_at_25_frames_a_second(write: Write, fps: int) -> None:
    """As the style encoder was trained, whatever the rate of the video."""
    sample = make_sample(0, frames=2 * fps, fps=fps, speaker="ann")
    encoder = make_encoder()
    mean, std = make_batches(write([sample]), encoder).read_style(0)
    track = Expressions(sample.expression, "arkit52", Fraction(fps), "").resample()
    assert len(track.values) == 50
    audio = torch.from_numpy(sample.audio_embeddings).float()[None]
    with torch.no_grad():
        style = encoder(torch.from_numpy(track.values)[None], audio)[0]
    torch.testing.assert_close(mean, style.mean)
    torch.testing.assert_close(std, style.std)


def test_a_speakers_mean_counts_recordings_alike_in_all_stages(write: Write) -> None:
    """A long recording at 0 and a short one at 1 have the mean 0.5."""
    long, short = make_sample(0, frames=80, speaker="ann"), make_sample(1, speaker="ann")
    long = replace(long, expression=np.zeros_like(long.expression))
    short = replace(short, expression=np.ones_like(short.expression))
    encoder = make_encoder(expression_centring="speaker")
    mean, _ = make_batches(write([long, short]), encoder).read_style(1)
    audio = torch.from_numpy(short.audio_embeddings).float()[None]
    with torch.no_grad():
        style = encoder(torch.full((1, 20, 52), 0.5), audio)[0]
    torch.testing.assert_close(mean, style.mean)


def test_styles_are_encoded_by_the_cache_and_read_from_it(
    start: Path, drawn_talkers: str, tmp_path: Path
) -> None:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(start)
    cache_dataset(ClipDataset(drawn_talkers), tmp_path / "cached", lambda: pipeline)
    dataset = ClipDataset(str(tmp_path / "cached"), "train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configuration = ImageTrainingConfiguration(data="", pipeline="", output_dir="")
        batches = DenoisingBatches(dataset, pipeline.style_encoder, configuration, 2, False)
    other = make_batches(dataset, make_encoder(style_dim=8))
    assert other.read_style(0)[0].shape == (8,)  # not what the cache holds
    for index in range(3):
        sample = dataset[index].decode()
        track = sample.track_expression().resample()
        audio = torch.from_numpy(sample.audio_embeddings).float()[None]
        with torch.no_grad():
            style = pipeline.style_encoder(torch.from_numpy(track.values)[None], audio)[0]
        mean, std = batches.read_style(index)
        torch.testing.assert_close(mean, style.mean)
        torch.testing.assert_close(std, style.std)


def test_a_cache_without_styles_of_the_pipeline_is_trained_on_and_said(write: Write) -> None:
    dataset = write([make_sample(i, speaker="ann") for i in range(2)])
    configuration = ImageTrainingConfiguration(
        data="", pipeline="", output_dir="", clips_per_batch=2
    )
    with pytest.warns(UserWarning, match="2 of the 2 clips .* run `svp data cache`"):
        batches = DenoisingBatches(dataset, make_encoder(), configuration, 2, False)
    assert batches(0, 0, 1)["style"].shape == (2, 16)


@pytest.mark.parametrize("frames_per_clip", [1, 3])
def test_a_batch_holds_what_whole_clips_would_give(write: Write, frames_per_clip: int) -> None:
    sample = make_sample(0, frames=FRAMES, speaker="ann")
    batches = make_batches(write([sample]), frames_per_clip=frames_per_clip)
    embeddings = torch.from_numpy(sample.audio_embeddings).float()
    windows = window_audio(embeddings, FRAMES, 2)
    for number in range(10):
        batch = batches(number, 0, 1)
        latents = batch["latents"][0].transpose(0, 1)
        frames = [
            int(np.flatnonzero((sample.latents == latent.numpy()).all(axis=(1, 2, 3)))[0])
            for latent in latents
        ]
        assert torch.equal(batch["audio_windows"][0], windows[frames])
        assert np.array_equal(batch["head_keypoints"][0], sample.head_keypoints[frames])
        assert np.array_equal(batch["expression"][0], sample.expression[frames])


def draw(batches: DenoisingBatches, name: str) -> torch.Tensor:
    return torch.cat([batches(number, 0, 1)[name] for number in range(10)])


@pytest.mark.parametrize("lost", ["reference", "audio", "style", "head", "joint"])
def test_a_clip_loses_what_it_is_asked_to_lose(write: Write, lost: str) -> None:
    names = ("reference", "audio", "style", "head")
    dropout = {f"{name}_dropout": float(name == lost) for name in (*names, "joint")}
    batches = make_batches(write([make_sample(0, speaker="ann")]), **dropout)
    for name in names:
        assert set(draw(batches, f"keep_{name}").tolist()) == {float(lost not in (name, "joint"))}


def test_high_noise_is_preferred_as_asked(write: Write) -> None:
    dataset = write([make_sample(0, speaker="ann")])
    even, high = (
        draw(make_batches(dataset, timestep_power=power), "timesteps") for power in (1.0, 0.5)
    )
    assert even.min() < 0.5 < even.max()
    torch.testing.assert_close(high, even.sqrt())


def test_styles_are_drawn_from_the_distribution_of_the_clip(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = make_batches(write([make_sample(0, speaker="ann")]))
    mean, std = batches.read_style(0)
    mean, std = mean + 5, std / 10  # far from those of the prior
    monkeypatch.setattr(batches, "read_style", lambda index: (mean, std))
    noise = (draw(batches, "style") - mean) / std  # 160 numbers
    assert noise.mean() == pytest.approx(0, abs=0.3)
    assert noise.std() == pytest.approx(1, abs=0.2)


def test_only_the_frames_of_a_batch_are_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [make_sample(i, frames=FRAMES, speaker="ann") for i in range(2)]
    batches = make_batches(write(samples))
    read = []
    read_bytes = loader.read_bytes

    def count(*arguments: Any) -> bytes:
        data = read_bytes(*arguments)
        read.append(len(data))
        return data

    monkeypatch.setattr(loader, "read_bytes", count)
    for number in range(10):
        batches(number, 0, 1)
    # A frame and a reference are 2 * 512 bytes, their expression, keypoints and sound 1.5 KiB.
    assert sum(read) < 10 * 5000
    assert sum(entry.bytes for entry in batches.dataset.entries) / 2 > 200_000


def test_an_index_of_an_older_release_is_read_too(write: Write) -> None:
    dataset = write([make_sample(i, speaker="ann") for i in range(2)])
    new = make_batches(dataset)(0, 0, 1)
    path = Path(dataset.root) / "index.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    for clip in content["clips"]:
        del clip["sizes"], clip["frame_sizes"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": digest}))
    old = make_batches(ClipDataset(dataset.root))(0, 0, 1)
    assert all(torch.equal(values, old[name]) for name, values in new.items())
