"""A picture or a recording means the same, whatever it is handed in as."""

import logging
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from svp_diffusers.checkpoints.loading import SVP_TINY, load_pipeline
from svp_diffusers.errors import MediaError
from svp_diffusers.media.audio import Recording, check_speech, read_audio, to_mono
from svp_diffusers.pipelines.images_svp import read_portrait
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.sound_svp import (
    MOST_CHANNELS,
    StoredSound,
    prepare_waveform,
    resample_pieces,
)
from svp_diffusers.samples import PORTRAITS

RATE = 16000
VOICE = (0.3 * np.sin(np.arange(RATE) / 20) * np.sin(np.arange(RATE) / 3000)).astype(np.float32)
WHOLE = (VOICE * 2**15).round().astype(np.int16)
STEREO = np.stack([VOICE, VOICE])


@pytest.fixture(scope="module")
def pipe() -> SVPTalkingHeadPipeline:
    pipe = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def as_given(picture: Image.Image) -> dict[str, Any]:
    array = np.asarray(picture)
    tensor = torch.tensor(array).permute(2, 0, 1)
    return {
        "uint8 array": array,
        "float32 array": array / np.float32(255),
        "float64 array": array / 255,
        "array of one picture": array[None],
        "uint8 tensor": tensor,
        "float tensor": tensor / 255,
        "float16 tensor": (tensor / 255).half(),
        "read-only view": np.broadcast_to(array, array.shape),
    }


@pytest.mark.parametrize("kind", as_given(Image.new("RGB", (2, 2))))
def test_a_portrait_is_the_same_picture_as_array_and_tensor(kind: str) -> None:
    picture = Image.open(PORTRAITS[0]).convert("RGB")
    read = read_portrait(as_given(picture)[kind])
    np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))


def test_every_portrait_is_cut_and_scaled_alike(pipe: SVPTalkingHeadPipeline) -> None:
    """Larger than the video and not square, so that cutting and scaling both show."""
    picture = Image.open(PORTRAITS[0]).convert("RGB").resize((300, 260))
    prepared, found = [], []
    for image in (picture, *as_given(picture).values()):
        prepared.append(pipe.prepare_image(image, 128, 128))
        crop, head = pipe.find_head(read_portrait(image), 128, 128)
        found.append((np.asarray(crop), head.keypoints))
    for pixels, (crop, keypoints) in zip(prepared, found, strict=True):
        assert torch.equal(pixels, prepared[0])
        np.testing.assert_array_equal(crop, found[0][0])
        np.testing.assert_array_equal(keypoints, found[0][1])


@pytest.mark.parametrize(
    "audio",
    [
        VOICE,
        torch.tensor(VOICE),
        torch.tensor(VOICE).double(),
        VOICE.astype(np.float64),
        VOICE.astype(np.float16),
        WHOLE,
        WHOLE.astype(">i2"),
        (VOICE.astype(np.float64) * 2**31).round().astype(np.int32),
        (VOICE * 128 + 128).round().astype(np.uint8),
        torch.tensor(WHOLE),
        STEREO,
        np.stack([WHOLE, WHOLE]),
        (RATE, WHOLE),
        (RATE, VOICE),
        (RATE, np.stack([WHOLE, WHOLE], axis=1)),  # as Gradio gives stereo
        (np.int64(RATE), WHOLE),
    ],
    ids=str,
)
def test_a_recording_is_the_same_however_it_is_given(audio: Any) -> None:
    waveform = prepare_waveform(audio, RATE).numpy()
    assert waveform.shape == VOICE.shape
    assert np.abs(waveform - VOICE).max() < 0.005  # 8 bits, or those of float16


def test_as_many_channels_are_averaged_as_a_recording_may_have() -> None:
    waveform = np.sin(np.arange(1600) / 9).astype(np.float32)
    heard = prepare_waveform(np.stack([waveform] * MOST_CHANNELS), 16000)
    np.testing.assert_allclose(heard, waveform, atol=1e-6)


def test_a_pair_says_its_own_rate() -> None:
    assert len(prepare_waveform((8000, WHOLE), RATE)) == 2 * RATE


def test_a_file_means_the_same_as_its_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([WHOLE, WHOLE // 2], axis=1), 22050)
    samples = np.stack([WHOLE, WHOLE // 2], axis=1)
    by_command = to_mono(read_audio(tmp_path / "a.wav"))
    for audio in (tmp_path / "a.wav", (22050, samples)):
        np.testing.assert_array_equal(prepare_waveform(audio, RATE).numpy(), by_command)


@pytest.mark.parametrize("rate", [1000, 7999, 11025, 44056, 44099, 47999, 192_000, 383_987])
def test_odd_rates_keep_the_duration(rate: int) -> None:
    waveform = prepare_waveform((rate, np.tile(VOICE, 2)[:rate]), RATE)
    assert len(waveform) == math.ceil(min(rate, 2 * RATE) * RATE / rate)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (VOICE * 2**15, "scale floats"),
        (np.full(999, np.nan), "NaN"),
        (np.full(999, np.inf), "NaN or infinite"),
        (WHOLE.astype(np.int64), "int64"),
        (VOICE > 0, "bool"),
        (VOICE.astype(complex), "complex"),
        (np.array(["speech"] * 999), "got <U6"),
        ([1.0, 2.0], "got list"),
        (3.0, "got float"),
        (None, "got NoneType"),
        (VOICE[:20], "at least 400"),
        (VOICE[:0], "at least 400"),
        (np.zeros((0, 999), np.float32), "shape"),
        (np.zeros((2, 2, 999), np.float32), "shape"),
        (np.stack([VOICE, VOICE], axis=1), "shape"),
        ((RATE, VOICE, VOICE), "pair"),
        ((RATE, "a.wav"), "pair"),
        ((0, VOICE), "sampling rate"),
        ((-16000, VOICE), "sampling rate"),
        ((2**31, VOICE), "sampling rate"),
        ((16000.5, VOICE), "sampling rate"),
        ((float("nan"), VOICE), "sampling rate"),
        (np.stack([VOICE, -VOICE]), "cancel each other"),
        ((RATE, np.stack([WHOLE, -WHOLE], axis=1)), "cancel each other"),
    ],
    ids=str,
)
def test_what_is_no_recording(audio: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_waveform(audio, RATE)


def test_a_file_whose_channels_cancel_is_no_speech(tmp_path: Path) -> None:
    """Its mean is silence: lips would not move, and no word would say why."""
    soundfile.write(tmp_path / "a.wav", np.stack([VOICE, -VOICE], axis=1), RATE)
    with pytest.raises(MediaError, match=r"a.wav: The channels .* cancel each other out"):
        check_speech(read_audio(tmp_path / "a.wav"), Fraction(25))
    for other in (VOICE, 0 * VOICE, -0.5 * VOICE, np.roll(VOICE, 99)):
        check_speech(Recording(np.stack([VOICE, other]), RATE, "stereo"), Fraction(25))


def test_channels_may_cancel_for_a_while() -> None:
    """As where two microphones hear one breath; the whole tells whether one is upside down."""
    left, right = np.tile(VOICE, 40), np.tile(VOICE, 40)
    right[: len(right) // 2] *= -1
    stereo = np.stack([left, right])
    whole = prepare_waveform(stereo, RATE).numpy()
    pieces = np.split(stereo, 10, axis=1)
    heard = list(StoredSound(lambda: pieces, RATE).waveform(RATE))
    np.testing.assert_array_equal(np.concatenate(heard), whole)
    live = list(resample_pieces(pieces, RATE, RATE))
    np.testing.assert_array_equal(np.concatenate(live), whole)
    list(StoredSound(lambda: pieces[::-1], RATE).waveform(RATE))
    with pytest.raises(ValueError, match="cancel each other"):
        list(StoredSound(lambda: pieces[:5], RATE).waveform(RATE))


def test_a_size_that_the_checkpoint_never_saw_is_warned_of(
    pipe: SVPTalkingHeadPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    def warned(size: int) -> bool:
        caplog.clear()
        with pytest.raises(ValueError, match="at least 400"):  # after it, so that no model runs
            pipe(Image.open(PORTRAITS[0]), VOICE[:20], height=size, width=size)
        return "trained at 128x128 pixels" in caplog.text

    assert [warned(size) for size in (64, 128, 192, 256)] == [True, False, True, True]


def test_float16_on_a_processor_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("diffusers").addHandler(caplog.handler)
    try:
        load_pipeline(SVP_TINY, torch.device("cpu"), "float16")
    finally:
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert "float16" not in caplog.text
