from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from svp_diffusers.errors import MediaError
from svp_diffusers.media.audio import Recording, check_speech, read_audio, to_mono
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.video import write_video
from svp_diffusers.pipelines.sound_svp import prepare_waveform, resampled_length

from .samples import cut_file, make_frames, make_recording, write_audio

CONTAINERS = [
    ("speech.wav", "pcm_s16le", 16000),
    ("speech.flac", "flac", 44100),
    ("speech.mp3", "libmp3lame", 44100),
    ("speech.m4a", "aac", 16000),
    ("speech.opus", "libopus", 48000),
    ("speech.webm", "libopus", 48000),
    ("speech.mka", "flac", 22050),
]


@pytest.mark.parametrize(("name", "codec", "rate"), CONTAINERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_any_container_comes_back_in_time(tmp_path, name, codec, rate, channels):
    original = make_recording(2.0, rate, channels)
    recording = read_audio(write_audio(tmp_path / name, original, codec))
    assert recording.sampling_rate == rate
    assert recording.samples.shape[0] == channels
    assert recording.samples.dtype == np.float32
    # Matroska keeps times in milliseconds; nothing may be off by a video frame.
    assert recording.duration == pytest.approx(2.0, abs=0.03)
    common = min(recording.samples.shape[1], original.samples.shape[1])
    # A shift by one period of the tone would still correlate: its modulation tells.
    left, right = recording.samples[:, :common].ravel(), original.samples[:, :common].ravel()
    assert np.corrcoef(left, right)[0, 1] > 0.98


def test_mono_at_16_khz_keeps_duration_and_waveform():
    recording = make_recording(1.5, 44100, channels=2)
    mono = to_mono(recording)
    assert mono.dtype == np.float32
    assert mono.shape == (24000,)
    expected = make_recording(1.5, 16000).samples[0]
    # The polyphase filter rings at the two ends only.
    assert np.abs(mono - expected)[200:-200].max() < 1e-3


def test_more_sound_than_memory_is_told(tmp_path, monkeypatch):
    path = write_audio(tmp_path / "long.flac", make_recording(25.3, 8000), "flac")
    monkeypatch.setattr("svp_diffusers.media.audio.MAXIMUM_VALUES", 25 * 8000)
    with pytest.raises(MediaError, match="more sound than is read at once, 0 minutes"):
        read_audio(path)


def test_of_several_tracks_the_first_is_heard(tmp_path):
    path = tmp_path / "dubbed.mka"
    with av.open(path, "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        for track, level in zip(tracks, (8000, -4000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 1600), level, np.int16), layout="mono")
            frame.sample_rate = 16000
            for packet in (*track.encode(frame), *track.encode()):
                container.mux(packet)
    np.testing.assert_allclose(read_audio(path).samples, 8000 / 32768, atol=1e-4)


def test_mono_is_the_mean_of_both_channels():
    left, right = np.random.default_rng(0).normal(0, 0.1, (2, 1600)).astype(np.float32)
    mono = to_mono(Recording(np.stack([left, right]), 16000, "a dialogue"))
    np.testing.assert_allclose(mono, (left + right) / 2, atol=1e-7)


def test_mono_removes_what_16_khz_cannot_carry():
    time = np.arange(44100) / 44100
    hiss = np.sin(2 * np.pi * 12000 * time).astype(np.float32)[None]
    assert np.abs(to_mono(Recording(hiss, 44100, "hiss")))[200:-200].max() < 0.01


def test_sound_of_a_video_begins_with_its_first_picture(tmp_path):
    click = np.zeros((1, 32000), dtype=np.float32)
    click[0, 8000:8080] = 0.9
    path = tmp_path / "talk.mp4"
    write_video(path, make_frames(50), parse_fps(25), Recording(click, 16000, "a click"))
    samples = read_audio(path).samples[0]
    assert samples.shape == (32000,)
    assert abs(int(np.abs(samples).argmax()) - 8040) < 80


@pytest.mark.parametrize("name", ["talk.mp4", "talk.mkv"])
@pytest.mark.parametrize(("picture_start", "sound_start"), [(0.0, 0.48), (0.48, 0.0), (0.2, 0.2)])
def test_sound_and_pictures_share_one_clock(tmp_path, name, picture_start, sound_start):
    click = np.zeros((1, 32000), dtype=np.float32)
    click[0, 16000:16080] = 0.9
    with av.open(str(tmp_path / name), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(click, "fltp", "mono")
        frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
        frame.pts = round(sound_start * 16000)
        packets = audio.encode(frame) + audio.encode(None)
        for index, pixels in enumerate(make_frames(50)):
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            picture.pts, picture.time_base = index + round(picture_start * 25), Fraction(1, 25)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        container.mux(packets)
    samples = read_audio(tmp_path / name).samples[0]
    after_first_picture = 1 + sound_start - picture_start
    # Matroska keeps times in milliseconds, and AAC delays the click by less than that.
    assert abs(np.abs(samples).argmax() / 16000 - after_first_picture - 0.0025) < 0.005


def test_a_gap_in_the_sound_of_a_video_is_silence(tmp_path):
    tone = make_recording(3.0, 16000, 1).samples
    path = tmp_path / "dropped.mkv"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25, width=32, height=32)
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for number, picture in enumerate(make_frames(75, 32, 32)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(pictures.encode(frame))
        for start in [*range(0, 16000, 1600), *range(32000, 48000, 1600)]:  # the middle is missing
            part = (tone[:, start : start + 1600] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(sound.encode(frame))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))
    samples = read_audio(path).samples
    assert samples.shape[1] / 16000 == pytest.approx(3.0, abs=0.01)
    assert not samples[:, 16100:31900].any()
    np.testing.assert_allclose(samples[:, 32100:47900], tone[:, 32100:47900], atol=0.001)


@pytest.mark.parametrize("fps", [25, 24])
def test_real_speech_is_read(real_data, fps):
    for path in sorted((real_data / "speech").glob("*.wav")):
        recording = read_audio(path)
        check_speech(recording, parse_fps(fps))
        info = soundfile.info(path)
        assert recording.samples.shape == (info.channels, info.frames)
        expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
        np.testing.assert_array_equal(recording.samples, expected.T)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("speech.wav", "pcm_s16le", {}),
        ("speech.flac", "flac", {}),
        ("speech.mp3", "libmp3lame", {}),
        ("speech.m4a", "aac", {}),
        ("streamed.m4a", "aac", {"movflags": "faststart"}),
        ("speech.webm", "libopus", {}),
        ("speech.mka", "aac", {}),
    ],
)
def test_a_truncated_file_is_an_error(tmp_path, name, codec, options):
    path = write_audio(tmp_path / name, make_recording(4.0), codec, options)
    read_audio(path)
    with pytest.raises(MediaError, match="cut short"):
        read_audio(cut_file(path, 0.6))


def test_a_variable_rate_mp3_without_length_is_not_taken_for_truncated(tmp_path):
    # From the quiet first half, FFmpeg guesses 20 seconds.
    samples = np.zeros((1, 16000 * 8), dtype=np.float32)
    samples[0, 64000:] = np.random.default_rng(0).normal(0, 0.2, 64000)
    path = write_audio(
        tmp_path / "quiet.mp3",
        Recording(samples, 16000, "noise"),
        "libmp3lame",
        options={"write_xing": "0"},
        codec_options={"abr": "1", "b": "32000"},
    )
    assert read_audio(path).duration == pytest.approx(8.0, abs=0.15)


def test_a_wav_written_into_a_pipe_declares_no_length_and_is_read(tmp_path):
    path = write_audio(tmp_path / "speech.wav", make_recording(1.0), "pcm_s16le")
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read_audio(path).duration == pytest.approx(1.0)


def test_surround_sound_is_mixed_to_two_channels(tmp_path):
    surround = np.zeros((16000, 6), dtype=np.float32)
    surround[:, 2] = make_recording(1.0).samples[0]  # the centre, where speech is
    soundfile.write(tmp_path / "a.flac", surround, 16000)
    left, right = read_audio(tmp_path / "a.flac").samples
    np.testing.assert_array_equal(left, right)
    assert np.corrcoef(left, surround[:, 2])[0, 1] > 0.999


def test_a_format_that_changes_midway_is_an_error(tmp_path):
    parts = [
        write_audio(tmp_path / f"{rate}.mp3", make_recording(1.0, rate), "libmp3lame")
        for rate in (16000, 44100)
    ]
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(MediaError):
        read_audio(path)


def test_files_that_are_no_recording(tmp_path):
    (tmp_path / "notes.wav").write_text("a shopping list, not a recording\n" * 50)
    (tmp_path / "empty.wav").touch()
    for path, message in [
        (tmp_path / "missing.wav", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.wav", "is empty"),
        (tmp_path / "notes.wav", "cannot be decoded"),
    ]:
        with pytest.raises(MediaError, match=message):
            read_audio(path)


def test_a_video_without_sound_is_an_error(tmp_path):
    path = tmp_path / "silent_film.mp4"
    write_video(path, make_frames(5), parse_fps(25))
    with pytest.raises(MediaError, match="no audio stream"):
        read_audio(path)


def test_a_header_without_samples_is_an_error(tmp_path):
    path = tmp_path / "header.wav"
    soundfile.write(path, np.zeros((0, 1), dtype=np.float32), 16000)
    with pytest.raises(MediaError):
        read_audio(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_samples_survive_reading_and_are_refused(tmp_path, value):
    samples = make_recording(1.0).samples[0].copy()
    samples[500] = value
    path = tmp_path / "nan.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    with pytest.raises(MediaError, match="NaN"):
        check_speech(read_audio(path))


def test_speech_that_cannot_drive_a_face():
    tone = make_recording(1.0)
    silent = Recording(tone.samples * 1e-3, 16000, "a silent tone")
    with pytest.raises(MediaError, match="silent"):
        check_speech(silent)
    with pytest.raises(MediaError, match="silent"):
        check_speech(Recording(np.zeros((2, 16000), dtype=np.float32), 16000, "zeros"))
    with pytest.raises(MediaError, match="less than one video frame"):
        check_speech(make_recording(0.039), parse_fps(25))
    with pytest.raises(MediaError, match="scale"):
        check_speech(Recording(tone.samples * 32768, 16000, "integers"))


def test_a_whisper_and_a_single_loud_word_are_not_silent():
    check_speech(make_recording(0.04), parse_fps(25))
    tone = make_recording(1.0).samples
    check_speech(Recording(tone * 10 ** (-40 / 20), 16000, "a whisper"))
    word = np.pad(tone[:, :1600], ((0, 0), (160000, 160000)))
    check_speech(Recording(word, 16000, "one word in twenty seconds"))


@pytest.mark.parametrize("rate", [16000, 44100])
def test_one_block_at_the_limit_is_not_silent(rate):
    """-60 dBFS over 40 ms, to a hundredth of a decibel."""
    block = round(0.04 * rate)
    check_speech(Recording(np.full((1, block), 1.0002e-3, np.float32), rate, "a breath"))
    with pytest.raises(MediaError, match="silent"):
        check_speech(Recording(np.full((1, block), 0.9998e-3, np.float32), rate, "a breath"))


def test_python_and_the_command_line_hear_the_same() -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, (2, 44101)).astype(np.float32)
    from_files = to_mono(Recording(samples, 44100, "a file"))
    in_python = prepare_waveform(samples, 44100)
    assert np.array_equal(from_files, in_python.numpy())
    assert len(from_files) == resampled_length(44101, 44100, 16000)
