"""A file is read as the file that it is: FFmpeg follows no list, address or protocol."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from svp_diffusers.errors import MediaError
from svp_diffusers.media.audio import read_audio
from svp_diffusers.media.video import probe, read_frames, write_video

from .samples import make_frames, make_recording, write_audio

HLS = """#EXTM3U
#EXT-X-TARGETDURATION:2
#EXTINF:2,
secret.m4a
#EXT-X-ENDLIST
"""
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="audio/mp4"><Representation
id="1" bandwidth="1"><BaseURL>secret.m4a</BaseURL></Representation></AdaptationSet></Period></MPD>
"""
LISTS = {
    "speech.m3u8": HLS,
    "speech.wav": "ffconcat version 1.0\nfile secret.wav\n",
    "speech.mp4": HLS,
    "speech.mp3": "ffconcat version 1.0\nfile secret.m4a\n",
    "speech.mpd": DASH,
    "speech.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "secret.wav", make_recording(2.0), "pcm_s16le")
    write_audio(tmp_path / "secret.m4a", make_recording(2.0), "aac")
    return tmp_path


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_neither_sound_nor_video(secrets: Path, name: str) -> None:
    (secrets / name).write_text(LISTS[name])
    readers: list[Callable[[str], object]] = [read_audio, probe, lambda path: [*read_frames(path)]]
    for read in readers:
        with pytest.raises(MediaError, match=f"{name} cannot be decoded"):
            read(name)


@pytest.mark.parametrize(
    "name",
    [
        "concat:secret.wav",
        "subfile,,start,0,end,0,,:secret.wav",
        "cache:secret.wav",
        "async:secret.wav",
        "data:audio/wav;base64,UklGRg==",
        "file:secret.wav",
    ],
)
def test_a_protocol_is_the_name_of_a_file_that_is_not_there(secrets: Path, name: str) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        read_audio(name)


@pytest.mark.parametrize(
    "name",
    [
        "12:30.wav",
        "http:/localhost:9/speech.wav",
        "concat:secret.wav",
        "cache:secret.wav",
        "subfile,,start,0,end,0,,:secret.wav",
        "speech %03d.wav",
        "-i.wav",
    ],
)
def test_sound_is_read_whatever_its_file_is_called(secrets: Path, name: str) -> None:
    (secrets / name).parent.mkdir(parents=True, exist_ok=True)
    written = write_audio(secrets / "plain.wav", make_recording(1.0), "pcm_s16le")
    written.rename(secrets / name)
    assert read_audio(name).duration == pytest.approx(1.0)


def test_pictures_are_read_whatever_their_file_is_called(secrets: Path) -> None:
    write_video(secrets / "plain.mp4", make_frames(5), Fraction(25))
    (secrets / "plain.mp4").rename(secrets / "12:30.mp4")
    assert probe("12:30.mp4").frames == 5
    assert len([*read_frames("12:30.mp4")]) == 5
