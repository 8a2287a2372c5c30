import struct
import tracemalloc
from fractions import Fraction
from itertools import islice, pairwise
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import ConfigurationError, MediaError
from svp_diffusers.media.audio import Recording, read_audio
from svp_diffusers.media.frame_rate import number_of_frames, parse_fps
from svp_diffusers.media.mark import DIGITAL_SOURCE_TYPE, mark_picture, read_mark
from svp_diffusers.media.video import probe, read_frames, write_video

from .samples import cut_file, make_frames, make_recording, read_grey_index, write_audio

NTSC_FILM = Fraction(24000, 1001)
RATES = [Fraction(25), Fraction(30), NTSC_FILM, Fraction(30000, 1001), Fraction(25, 2)]


@pytest.mark.parametrize(
    ("value", "fps"),
    [
        (25, Fraction(25)),
        (25.0, Fraction(25)),
        ("25", Fraction(25)),
        ("23.976", NTSC_FILM),
        (23.98, NTSC_FILM),
        (29.97, Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("24000/1001", NTSC_FILM),
        (24, Fraction(24)),
        (1, Fraction(1)),
        (12.5, Fraction(25, 2)),
        ("25.3", Fraction(253, 10)),
        (25.3, Fraction(253, 10)),
        ("24.975", Fraction(999, 40)),
        (Fraction(1199, 50), Fraction(1199, 50)),
    ],
)
def test_frame_rates_are_exact(value, fps):
    assert parse_fps(value) == fps


@pytest.mark.parametrize(
    "value", ["fast", "", "1/0", 0, -25, 0.5, 1000, float("nan"), "inf", "25.1234567"]
)
def test_impossible_frame_rates_are_errors(value):
    with pytest.raises(ConfigurationError):
        parse_fps(value)


@pytest.mark.parametrize(
    ("fps", "duration", "rate"),
    [
        *[(fps, 0.3, 16000) for fps in RATES],
        *[(fps, 7.0371, 44100) for fps in RATES],
        (RATES[3], 61.0, 16000),
        (Fraction(25), 2.0, 8000),
        (Fraction(25), 2.0, 11000),
        (Fraction(25), 2.0, 192000),
    ],
)
def test_video_and_sound_last_as_long_as_the_recording(tmp_path, fps, duration, rate):
    path = tmp_path / "talk.mp4"
    recording = make_recording(duration, rate)
    count = number_of_frames(recording.duration, fps)
    write_video(path, make_frames(count, 16, 16), fps, recording)
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert video.average_rate == fps
        assert video.frames == count
        declared = [float(stream.duration * stream.time_base) for stream in (video, sound)]
        times = [frame.pts * frame.time_base for frame in container.decode(video)]
    assert times == [Fraction(index) / fps for index in range(count)]
    decoded = read_audio(path)
    # The next rate that AAC knows.
    assert decoded.sampling_rate == {11000: 11025, 192000: 96000}.get(rate, rate)
    for seconds in [*declared, decoded.duration]:
        assert abs(seconds - duration) <= 1 / fps


@pytest.mark.parametrize("name", ["english_radio", "chinese", "english_clean_44k"])
@pytest.mark.parametrize("fps", RATES[:3])
def test_real_speech_keeps_its_duration_and_waveform(tmp_path, real_data, fps, name):
    speech = read_audio(real_data / "speech" / f"{name}.wav")
    count = number_of_frames(speech.duration, fps)
    write_video(tmp_path / "talk.mp4", make_frames(count, 16, 16), fps, speech)
    info, heard = probe(tmp_path / "talk.mp4"), read_audio(tmp_path / "talk.mp4")
    assert (info.fps, info.frames) == (fps, count)
    assert abs(info.duration - speech.duration) <= 1 / fps
    # MP4 keeps a track's length in milliseconds.
    assert abs(heard.duration - speech.duration) < 1e-3
    common = min(heard.samples.shape[1], speech.samples.shape[1])
    # 96 kbit/s a channel; a shift of 1 ms would already fail.
    assert np.corrcoef(heard.samples[0, :common], speech.samples[0, :common])[0, 1] > 0.97


def test_sound_neither_drifts_nor_loses_its_end(tmp_path):
    rate, seconds = 44100, 61
    samples = np.zeros((1, rate * seconds), dtype=np.float32)
    for second in range(seconds):
        samples[0, second * rate + rate // 2 :][:64] = 0.8
    samples[0, -2000:-1900] = 0.8
    fps = NTSC_FILM
    recording = Recording(samples, rate, "clicks")
    path = tmp_path / "clicks.mp4"
    write_video(path, make_frames(number_of_frames(seconds, fps), 16, 16), fps, recording)
    decoded = read_audio(path).samples[0]
    for second in range(seconds):
        heard = np.abs(decoded[second * rate : (second + 1) * rate - 2500]).argmax()
        assert abs(int(heard) - rate // 2 - 32) < 64
    assert np.abs(decoded[-2100:-1800]).max() > 0.4


def test_frames_come_back_in_order_and_colour(tmp_path):
    frames = list(make_frames(30))
    colours = [(200, 40, 40), (40, 180, 60), (50, 60, 220), (230, 220, 210)]
    frames += [np.full((32, 48, 3), colour, dtype=np.uint8) for colour in colours]
    path = tmp_path / "a.mp4"
    write_video(path, frames, Fraction(25))
    decoded = list(read_frames(path))
    assert len(decoded) == len(frames)
    for original, frame in zip(frames, decoded, strict=True):
        # H.264 at this quality and 8-bit YUV lose a few levels; a wrong colour matrix loses 20.
        assert np.abs(frame.astype(int) - original).mean() < 4


def test_writing_takes_frames_one_at_a_time(tmp_path):
    def peak(count: int) -> int:
        tracemalloc.start()
        recording = make_recording(count / 25)
        tracemalloc.reset_peak()
        write_video(tmp_path / "a.mp4", make_frames(count, 256, 256), Fraction(25), recording)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    frame_bytes = 256 * 256 * 3
    # Twenty times as many frames cost their sound (4 bytes a sample), not their pictures.
    assert peak(200) - peak(10) < 190 / 25 * 16000 * 4 + 10 * frame_bytes


def test_the_same_frames_give_the_same_file(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, make_frames(20), Fraction(25), make_recording(0.8))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_every_video_says_that_it_is_synthetic(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, make_frames(5), Fraction(25), metadata={"title": "a test"})
    mark = read_mark(path)
    assert mark is not None
    assert mark["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert "Synthetic" in mark["comment"]
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "a test"
    with pytest.raises(ConfigurationError, match="synthetic mark"):
        write_video(path, make_frames(5), Fraction(25), metadata={"comment": "real"})


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mkv"])
def test_the_mark_survives_a_plain_copy_to_another_container(tmp_path, name):
    write_video(tmp_path / "a.mp4", make_frames(5), Fraction(25))
    with (
        av.open(str(tmp_path / "a.mp4")) as source,
        av.open(str(tmp_path / name), "w") as copy,
    ):
        copy.metadata.update(source.metadata)
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    assert read_mark(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264")),
        *(("a.avi", "mpeg4"), ("a.webm", "libvpx")),
    ],
)
def test_the_mark_survives_a_cut_and_another_encoding(tmp_path, name, codec):
    """As FFmpeg does it: without further options, it takes over the tags of its input."""
    write_video(tmp_path / "made.mp4", make_frames(10), Fraction(25))
    with (
        av.open(str(tmp_path / "made.mp4")) as source,
        av.open(str(tmp_path / name), "w") as encoded,
    ):
        encoded.metadata.update(source.metadata)
        stream = encoded.add_stream(codec, rate=25)
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(islice(source.decode(video=0), 2, 8)):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            encoded.mux(stream.encode(frame))
        encoded.mux(stream.encode(None))
    assert probe(tmp_path / name).frames == 6
    assert read_mark(tmp_path / name)


def test_pictures_carry_the_mark_too(tmp_path):
    picture = Image.new("RGB", (64, 64))
    picture.save(tmp_path / "plain.png")
    assert read_mark(tmp_path / "plain.png") is None
    picture.save(tmp_path / "marked.png", pnginfo=mark_picture())
    assert read_mark(tmp_path / "marked.png")["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    with Image.open(tmp_path / "marked.png") as opened:
        (described,) = ElementTree.fromstring(opened.text["XML:com.adobe.xmp"])[0]
    iptc = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
    assert described.attrib[f"{iptc}DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    with pytest.raises(MediaError, match="cannot be read"):
        read_mark(cut_file(tmp_path / "marked.png", 0.1))


def test_a_recording_carries_no_mark(tmp_path, real_data):
    assert read_mark(real_data / "clips" / "vasa_10" / "clip.mp4") is None


def test_frames_that_cannot_be_written_are_errors_and_leave_nothing(tmp_path):
    odd = [np.zeros((33, 48, 3), dtype=np.uint8)]
    floats = [np.zeros((32, 48, 3), dtype=np.float32)]
    grey = [np.zeros((32, 48), dtype=np.uint8)]
    changing = [np.zeros((32, 48, 3), dtype=np.uint8), np.zeros((48, 32, 3), dtype=np.uint8)]
    for frames, message in [
        (odd, "even"),
        ([], "no frames"),
        (floats, "uint8"),
        (grey, "height, width, 3"),
        (changing, "the first one"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            write_video(tmp_path / "a.mp4", frames, Fraction(25))
    with pytest.raises(MediaError, match="number_of_frames"):
        write_video(tmp_path / "a.mp4", make_frames(10), Fraction(25), make_recording(1.0))
    assert list(tmp_path.iterdir()) == []


def test_probe_tells_what_is_displayed(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, make_frames(50), NTSC_FILM, make_recording(50 / NTSC_FILM))
    info = probe(path)
    assert (info.width, info.height, info.fps, info.frames) == (48, 32, NTSC_FILM, 50)
    assert info.duration == pytest.approx(50 / NTSC_FILM, abs=1e-3)
    assert info.has_audio
    assert info.rotation == 0


def test_probe_counts_the_frames_of_a_file_that_only_says_how_long_it_is(tmp_path):
    _encode(tmp_path / "a.mkv", make_frames(50), Fraction(25))
    info = probe(tmp_path / "a.mkv")
    assert (info.fps, info.frames) == (25, 50)
    assert info.duration == pytest.approx(2, abs=1e-3)


def test_a_turned_telephone_video_is_read_upright(tmp_path):
    bright_top = np.zeros((32, 48, 3), dtype=np.uint8)
    bright_top[:16] = 200
    path = tmp_path / "a.mp4"
    write_video(path, [bright_top] * 3, Fraction(25))
    # The track header's display matrix for a quarter turn clockwise.
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, one * 32, 0, one << 14)
    path.write_bytes(data)
    assert (probe(path).width, probe(path).height) == (32, 48)
    frame = next(read_frames(path))
    assert frame.shape == (48, 32, 3)
    assert frame[:, 20:].mean() > 150
    assert frame[:, :12].mean() < 50


@pytest.mark.parametrize("source", RATES)
def test_reading_at_the_rate_of_the_file_changes_nothing(tmp_path, source):
    for name in ("a.mp4", "a.mkv"):
        _encode(tmp_path / name, make_frames(60), source)
        stored = [read_grey_index(frame) for frame in read_frames(tmp_path / name)]
        assert stored == [index % 30 for index in range(60)]
        assert [read_grey_index(f) for f in read_frames(tmp_path / name, source)] == stored


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # of which the latter stores milliseconds
@pytest.mark.parametrize(
    ("source", "target"),
    [(30, 25), (25, 30), (50, 25), (25, 50), (24, 25), (24, 48), ("29.97", 25), (25, 24)],
)
def test_reading_at_another_rate_is_off_by_half_a_stored_frame_at_most(
    tmp_path, name, source, target
):
    source, target = parse_fps(source), parse_fps(target)
    _encode(tmp_path / name, make_frames(round(2 * source)), source)
    frames = [read_grey_index(frame) for frame in read_frames(tmp_path / name, target)]
    assert len(frames) == pytest.approx(2 * target, abs=1)
    steps = set()
    for index, (grey, following) in enumerate(pairwise(frames)):
        off = (grey - float(index * source / target) + 15) % 30 - 15
        assert abs(off) <= 0.5 + 0.001 * source + 1e-6  # times may be rounded by a millisecond
        steps.add((following - grey) % 30)
    # A step in the middle is at most one stored frame longer than another: nothing judders.
    assert max(steps) - min(steps) <= (0 if source % target == 0 else 1)


def test_half_the_rate_shows_every_second_frame(tmp_path):
    write_video(tmp_path / "a.mp4", make_frames(20), Fraction(50))
    frames = [read_grey_index(frame) for frame in read_frames(tmp_path / "a.mp4", Fraction(25))]
    assert frames == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_twice_the_rate_shows_every_frame_twice(tmp_path, name):
    _encode(tmp_path / name, make_frames(10), Fraction(24))
    frames = [read_grey_index(frame) for frame in read_frames(tmp_path / name, Fraction(48))]
    assert frames == [index // 2 for index in range(20)]


def test_real_clips_are_read(real_data):
    info = probe(real_data / "clips" / "vasa_10" / "clip.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (512, 512, Fraction(25), 375)
    frames = read_frames(real_data / "clips" / "vasa_10" / "clip.mp4", Fraction(25))
    assert sum(1 for _ in frames) == 375


def test_files_that_are_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 40)
    write_audio(tmp_path / "sound.mp4", make_recording(1.0), "aac")
    write_video(tmp_path / "whole.mp4", make_frames(100), Fraction(25), make_recording(4.0))
    cut_file(tmp_path / "whole.mp4", 0.6)
    for name, message in [
        ("missing.mp4", "does not exist"),
        (".", "is a folder"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be decoded"),
        ("sound.mp4", "no video stream"),
        ("cut_whole.mp4", "cut short"),
    ]:
        with pytest.raises(MediaError, match=message):
            list(read_frames(tmp_path / name))


def test_a_bare_stream_that_knows_no_time_is_an_error(tmp_path):
    path = tmp_path / "a.h264"
    _encode(path, make_frames(10), Fraction(25))
    for read in (probe, lambda path: list(read_frames(path, Fraction(25)))):
        with pytest.raises(MediaError, match="does not say"):
            read(path)
    assert len(list(read_frames(path))) == 10


def test_pixels_that_are_not_square_are_an_error(tmp_path):
    _encode(tmp_path / "a.mp4", make_frames(3), Fraction(25), pixel_shape=Fraction(16, 11))
    for read in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError, match="square"):
            read(tmp_path / "a.mp4")


def _encode(path, frames, fps, pixel_shape=Fraction(1)):
    """Write a stream as cameras do, in a container of the suffix's choice."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.codec_context.sample_aspect_ratio = pixel_shape
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_frame_whose_time_is_years_away_is_an_error_and_not_years_of_frames(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index, picture in enumerate(make_frames(10)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index + (10**9 if index > 5 else 0), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="shows a single frame for 40000000 s"):
        for _ in islice(read_frames(path, Fraction(25)), 10**5):
            pass
    assert len(list(read_frames(path))) == 10
