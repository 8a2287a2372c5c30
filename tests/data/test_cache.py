"""Caching with the encoders of a tiny random pipeline."""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.cli.data import app
from svp_diffusers.data.cache import cache_dataset, load_encoders
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.inspection import draw_contact_sheet, summarize
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter, verify
from svp_diffusers.errors import CheckpointError, ConfigurationError, DatasetError
from svp_diffusers.models.style_encoder_svp import StyleEncoder


def build_pipeline(seed=0, **style_encoder):
    """A random pipeline whose style encoder takes the clips' expressions."""
    pipeline = build_random_pipeline(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"expression_dim": 52, "expression_space": "arkit52", **style_encoder}
        pipeline.register_modules(style_encoder=StyleEncoder.tiny(**sizes).eval())
    return pipeline


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    build_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoders(checkpoint):
    return load_encoders(checkpoint, torch.device("cpu"))


@pytest.fixture
def dataset(tmp_path, make_clip):
    with ShardWriter(tmp_path / "frames") as writer:
        for seed, split in enumerate(("train", "train", "test")):
            clip = make_clip(key=f"c{seed}", seed=seed, frames=20, split=split)
            writer.write(encode_clip(clip))
    return ClipDataset(str(tmp_path / "frames"))


@pytest.fixture
def cached(dataset, encoders, tmp_path):
    cache_dataset(dataset, tmp_path / "cached", lambda: encoders, batch_size=3)
    return ClipDataset(str(tmp_path / "cached"))


def test_only_the_encoders_are_loaded(encoders):
    assert encoders.unet is None
    assert encoders.reference_unet is None


def test_cached_values_are_those_of_the_pipeline(dataset, cached, encoders):
    for index in range(len(dataset)):
        clip, stored = dataset[index].decode(), cached[index].decode()
        pixels = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        reference = torch.from_numpy(clip.reference).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            latents = encoders.vae.encode(pixels).latent_dist.mode()
            reference = encoders.vae.encode(reference).latent_dist.mode()[0]
            embeddings = encoders.encode_audio(torch.from_numpy(clip.waveform))
        latents = latents * encoders.vae.config.scaling_factor
        reference = reference * encoders.vae.config.scaling_factor
        assert stored.frames is None
        assert stored.reference is None
        # float16 has 11 bits: relative steps of 2^-11, halved by rounding.
        np.testing.assert_allclose(stored.latents, latents, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(stored.reference_latents, reference, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(stored.audio_embeddings, embeddings, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(stored.waveform, clip.waveform)
        np.testing.assert_array_equal(stored.head_keypoints, clip.head_keypoints)
        np.testing.assert_array_equal(stored.expression, clip.expression)
        assert {**stored.metadata, "cached_with": 0} == {**clip.metadata, "cached_with": 0}


def test_a_window_of_a_cached_clip_is_cut_alike(cached):
    whole, window = cached[0].decode(), cached[0].decode(5, 10)
    assert window.fps == Fraction(25)
    np.testing.assert_array_equal(window.latents, whole.latents[5:10])
    np.testing.assert_array_equal(window.audio_embeddings, whole.audio_embeddings[10:20])
    np.testing.assert_array_equal(window.reference_latents, whole.reference_latents)


def test_a_clip_without_a_reference_is_cached_without_one(tmp_path, make_clip, encoders):
    with ShardWriter(tmp_path / "plain") as writer:
        writer.write(encode_clip(replace(make_clip(), reference=None)))
    cache_dataset(ClipDataset(str(tmp_path / "plain")), tmp_path / "out", lambda: encoders)
    stored = ClipDataset(str(tmp_path / "out"))[0]
    assert not any(name.startswith("reference") for name in stored.members)
    assert stored.decode().reference_latents is None


def test_a_cached_dataset_verifies_and_says_what_it_is(cached, dataset):
    assert verify_root(cached) == []
    kind = "25 fps 32x32 latents arkit52 head8"
    assert summarize(cached).kinds == {kind: 3}
    assert summarize(cached).histograms == summarize(dataset).histograms
    with pytest.raises(DatasetError, match="latents only"):
        draw_contact_sheet(cached)


def verify_root(dataset):
    from pathlib import Path

    return verify(Path(dataset.root))


def test_other_encoders_leave_another_fingerprint(dataset, cached, tmp_path):
    cache_dataset(dataset, tmp_path / "other", lambda: build_pipeline(seed=1))
    other = ClipDataset(str(tmp_path / "other"))
    prints = [d.entries[0].header["metadata"]["cached_with"] for d in (cached, other)]
    assert prints[0]["vae"] != prints[1]["vae"]
    assert prints[0]["audio_encoder"] != prints[1]["audio_encoder"]
    assert prints[0]["style_encoder"] != prints[1]["style_encoder"]
    assert cached.entries[1].header["metadata"]["cached_with"] == prints[0]


def test_styles_that_the_checkpoint_cannot_encode_are_refused(dataset, tmp_path, make_clip):
    with pytest.raises(DatasetError, match="arkit52 expressions, the style encoder takes bfm64"):
        cache_dataset(dataset, tmp_path / "out", build_random_pipeline)
    with ShardWriter(tmp_path / "nameless") as writer:
        writer.write(encode_clip(replace(make_clip(), metadata={"split": "train"})))
    nameless = ClipDataset(str(tmp_path / "nameless"))
    relative = partial(build_pipeline, expression_centring="speaker")
    with pytest.raises(DatasetError, match="does not say its speaker"):
        cache_dataset(nameless, tmp_path / "out", relative)
    cache_dataset(nameless, tmp_path / "out", build_pipeline)


def test_a_style_is_relative_to_the_speakers_mean_over_all_clips(dataset, tmp_path):
    cache_dataset(dataset, tmp_path / "out", partial(build_pipeline, expression_centring="speaker"))
    clips = [dataset[index].decode() for index in range(3)]  # the first and the last are of "s0"
    average = (clips[0].expression.mean(0) + clips[2].expression.mean(0)) / 2
    stored = ClipDataset(str(tmp_path / "out"))[0].decode()
    with torch.no_grad():
        style = build_pipeline(expression_centring="speaker").style_encoder(
            torch.from_numpy(clips[0].expression - average)[None],
            torch.from_numpy(stored.audio_embeddings).float()[None],
        )[0]
    np.testing.assert_allclose(stored.style, torch.stack([style.mean, style.std]), atol=1e-5)


def test_a_cached_dataset_is_not_cached_again(cached, encoders, tmp_path):
    with pytest.raises(DatasetError, match="cached already"):
        cache_dataset(cached, tmp_path / "again", lambda: encoders)


def test_frames_the_vae_cannot_encode_are_refused(tmp_path, make_clip, encoders):
    clip = make_clip()
    narrow = {"frames": clip.frames[:, :, :20], "reference": clip.reference[:, :20]}
    with ShardWriter(tmp_path / "odd") as writer:
        writer.write(encode_clip(replace(clip, **narrow)))
    with pytest.raises(ConfigurationError, match="20x32 pixels; this VAE needs multiples of 8"):
        cache_dataset(ClipDataset(str(tmp_path / "odd")), tmp_path / "out", lambda: encoders)
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.slow
def test_workers_cache_the_same_clips_in_the_same_order(dataset, checkpoint, tmp_path):
    make_pipeline = partial(load_encoders, checkpoint, torch.device("cpu"))
    for workers in (1, 2):
        cache_dataset(dataset, tmp_path / str(workers), make_pipeline, workers=workers)
    one, two = (ClipDataset(str(tmp_path / name)) for name in "12")
    for index in range(len(dataset)):
        assert one[index].key == two[index].key
        assert one[index].header == two[index].header
        first, second = one[index].decode(), two[index].decode()
        for name in ("latents", "reference_latents", "audio_embeddings"):
            # Sums are taken in another order where threads are otherwise divided; float16 then
            # rounds to a neighbour.
            np.testing.assert_allclose(
                getattr(first, name), getattr(second, name), rtol=2e-3, atol=1e-4
            )
        for name in ("waveform", "head_keypoints", "expression"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.slow
def test_an_error_of_a_worker_is_the_error_of_the_command(dataset, tmp_path):
    make_pipeline = partial(load_encoders, tmp_path / "missing", torch.device("cpu"))
    with pytest.raises(CheckpointError, match="missing cannot be loaded"):
        cache_dataset(dataset, tmp_path / "out", make_pipeline, workers=2)
    assert not (tmp_path / "out" / "index.json").exists()


def test_the_command_caches_and_names_a_missing_checkpoint(dataset, checkpoint, tmp_path):
    options = ["cache", dataset.root, "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*options, "--model", str(checkpoint)])
    assert result.exit_code == 0, result.output
    assert "3 of 3 clips" in result.output
    fewer = ["cache", dataset.root, "-o", str(tmp_path / "fewer"), "--clips", "2"]
    assert CliRunner().invoke(app, [*fewer, "--model", str(checkpoint)]).exit_code == 0
    assert len(ClipDataset(str(tmp_path / "fewer"))) == 2
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(app, [*options, "--model", str(tmp_path / "empty")])
    assert isinstance(result.exception, CheckpointError)
