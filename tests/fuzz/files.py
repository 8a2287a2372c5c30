"""Small valid files of every kind that the package reads, and the function that reads each."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import scipy.io
from PIL import Image

from svp_diffusers.checkpoints.description import describe_checkpoint
from svp_diffusers.checkpoints.loading import (
    SVP_TINY,
    check_components,
    outline_style_encoder,
    read_call_defaults,
)
from svp_diffusers.conversion.configs import read_unet_config
from svp_diffusers.data.clips import ClipSample, encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.preparation.sources import list_sources
from svp_diffusers.data.shards import ShardWriter, read_index, verify
from svp_diffusers.data.shards import _digest as digest_index
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.generation.batch.lines import read_lines
from svp_diffusers.hub.cards import render_card
from svp_diffusers.hub.push import describe_folder
from svp_diffusers.media.audio import check_speech, open_recording, read_audio, to_mono
from svp_diffusers.media.image import read_image
from svp_diffusers.media.keypoints import read_keypoints
from svp_diffusers.media.video import probe, read_frames
from svp_diffusers.style.parse import parse_style
from svp_diffusers.style.storage import find_style, load_style
from svp_diffusers.training.denoiser.configuration import VideoTrainingConfiguration
from svp_diffusers.training.loop.yaml_file import load_configuration
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    name: of the file, with the suffix by which it is known
    content: a valid one
    read: reads the file at a path, as a command would; whatever is wrong is an `SVPError`
    is_text: damaged word by word, not byte by byte
    """

    name: str
    content: bytes
    read: Callable[[Path], object]
    is_text: bool = False


NOISE = np.random.default_rng(0).integers(0, 256, (80, 72, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(80), np.arange(72)).astype(np.uint8)[..., None].repeat(3, 2)
VOICE = (0.3 * np.sin(np.arange(8000) / 20)).astype(np.float32)


def picture(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).save(stream, kind, **options)
    return stream.getvalue()


def sound(kind: str, codec: str) -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as container:
        track = container.add_stream(codec, rate=16000, layout="mono")
        for start in range(0, len(VOICE), 1024):
            frame = av.AudioFrame.from_ndarray(VOICE[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return stream.getvalue()


def video(kind: str, codec: str) -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as container:
        track = container.add_stream(codec, rate=25)
        track.width, track.height, track.pix_fmt = 72, 80, "yuv420p"
        for shade in range(8):
            frame = av.VideoFrame.from_ndarray(SMOOTH + np.uint8(8 * shade), format="rgb24")
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return stream.getvalue()


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, expression=np.zeros((30, 52), "f4"), space="arkit52", fps=25)
    return stream.getvalue()


def mat(**options: object) -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(0).normal(size=(6, 257)).astype("f4")
    scipy.io.savemat(stream, {"other": np.arange(3), "coeff": values}, **options)
    return stream.getvalue()


def live_link() -> bytes:
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["Timecode", *(name[0].upper() + name[1:] for name in ARKIT_BLENDSHAPES)])
    table.writerows([[f"0:{row}", *([0.25] * 52)] for row in range(6)])
    return stream.getvalue().encode()


def style(folder: Path) -> bytes:
    find_style("prior", outline_or_load()).save(folder / "a.style.safetensors")
    return (folder / "a.style.safetensors").read_bytes()


def outline_or_load():
    from svp_diffusers.models.style_encoder_svp import StyleEncoder

    return StyleEncoder.tiny()


def dataset(folder: Path) -> tuple[bytes, bytes]:
    """Index and shard."""
    random = np.random.default_rng(0)
    with ShardWriter(folder) as writer:
        for key in ("a", "b"):
            clip = ClipSample(
                key=key,
                fps=Fraction(25),
                waveform=random.uniform(-0.5, 0.5, 3 * 640).astype(np.float32),
                metadata={"split": "train", "speaker": "s", "emotion": "happy"},
                frames=np.resize(SMOOTH, (3, 32, 32, 3)),
                head_keypoints=random.uniform(0, 32, (3, 8, 2)).astype(np.float32),
                expression=random.uniform(0, 1, (3, 52)).astype(np.float32),
                expression_space="arkit52",
            )
            writer.write(encode_clip(clip))
    return (folder / "index.json").read_bytes(), (folder / "train-000000.tar").read_bytes()


def read_sound(path: Path) -> None:
    recording = read_audio(path)
    check_speech(recording)
    to_mono(recording)
    list(open_recording(path).read())


def read_video(path: Path) -> None:
    probe(path)
    for _ in read_frames(path, Fraction(25)):
        pass


def read_dataset(folder: Path) -> None:
    verify(folder)
    clips = ClipDataset(str(folder))
    for index in range(len(clips)):
        clip = clips[index]
        clip.decode(0, clip.number_of_frames)
        for name in ("expression", "head_keypoints"):
            clips.open_array(index, name).read_rows(np.arange(clip.number_of_frames))


def read_index_alone(path: Path) -> None:
    """As if the checksum were right, which whoever means harm sees to."""
    try:
        content = json.loads(path.read_bytes())
        content.pop("sha256", None)
        path.write_text(json.dumps(content | {"sha256": digest_index(content)}))
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    read_index(path.parent)


def read_checkpoint(folder: Path) -> None:
    check_components(folder)
    read_call_defaults(folder)
    parse_style("0:happy,1:prior", outline_style_encoder(folder).style_bank)
    describe_checkpoint(folder)


def read_card(path: Path) -> None:
    render_card(describe_folder(path.parent, "org/name", "checkpoint"))


def read_schedule(path: Path) -> None:
    from svp_diffusers.errors import StyleError

    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise StyleError("not text, as no command line is") from error
    parse_style(text, ["happy", "neutral"])


def make_kinds(folder: Path) -> list[Kind]:
    """All kinds; `folder` is empty, and keeps what lies beside some of the files."""
    index, shard = dataset(folder / "dataset")
    weights = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(SVP_TINY, folder / "tiny", ignore=weights)
    yaml = b"data: d\noutput_dir: o\npipeline: p\nsteps: 3\nseed: 1\nlearning_rate: 1.0e-3\n"
    style_yaml = b"data: d\noutput_dir: o\nsteps: 3\nexpression_space: arkit52\nnum_layers: 2\n"
    line = {"image": "a.png", "audio": "a.wav", "output": "a.mp4", "style": "happy", "steps": 3}
    card = b"base_model: a/b\nlimits: some.\ndatasets: [mead]\nlicenses: {all: MIT}\n"
    result = {"dataset": "N", "dataset_type": "n", "metric": "F", "metric_type": "f", "value": 4.0}
    unet = json.loads((SVP_TINY / "unet" / "config.json").read_text())
    unet |= {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    tiny = {
        name: (SVP_TINY / name).read_bytes()
        for name in ("model_index.json", "style_encoder/config.json", "unet/config.json")
    }
    return [
        Kind("a.png", picture("PNG"), read_image),
        Kind("a.jpg", picture("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), read_image),
        Kind("a.webp", picture("WEBP"), read_image),
        Kind("a.tiff", picture("TIFF", compression="tiff_lzw"), read_image),
        Kind("a.gif", picture("GIF"), read_image),
        Kind("a.bmp", picture("BMP"), read_image),
        Kind("a.ppm", picture("PPM"), read_image),
        Kind("a.wav", sound("wav", "pcm_s16le"), read_sound),
        Kind("a.flac", sound("flac", "flac"), read_sound),
        Kind("a.mp3", sound("mp3", "libmp3lame"), read_sound),
        Kind("a.ogg", sound("ogg", "libopus"), read_sound),
        Kind("a.m4a", sound("ipod", "aac"), read_sound),
        Kind("a.mp4", video("mp4", "libx264"), read_video),
        Kind("a.mkv", video("matroska", "libx264"), read_video),
        Kind("a.webm", video("webm", "libvpx"), read_video),
        Kind("a.avi", video("avi", "mpeg4"), read_video),
        Kind("a.style.safetensors", style(folder), load_style),
        Kind("plain.mat", mat(), read_expressions),
        Kind("packed.mat", mat(do_compression=True), read_expressions),
        Kind("a.npz", npz(), read_expressions),
        Kind("a.csv", live_link(), read_expressions, is_text=True),
        Kind("a.npy", npy(np.zeros((3, 8, 2), np.float32)), read_keypoints),
        Kind("dataset/train-000000.tar", shard, lambda path: read_dataset(path.parent)),
        Kind("dataset/index.json", index, lambda path: read_dataset(path.parent), is_text=True),
        Kind("forged/index.json", index, read_index_alone, is_text=True),
        Kind("video.yaml", yaml, lambda p: load_configuration(p, VideoTrainingConfiguration), True),
        Kind(
            "style.yaml",
            style_yaml,
            lambda path: load_configuration(path, StyleTrainingConfiguration),
            is_text=True,
        ),
        *(
            Kind(f"tiny/{name}", data, lambda _: read_checkpoint(folder / "tiny"), is_text=True)
            for name, data in tiny.items()
        ),
        Kind("sd/config.json", json.dumps(unet).encode(), read_unet_config, is_text=True),
        Kind(
            "lines.jsonl",
            (json.dumps(line) + "\n").encode() * 2,
            lambda path: read_lines(path, path.parent),
            is_text=True,
        ),
        Kind("card/card.yaml", card, read_card, is_text=True),
        Kind("card/evaluation.json", json.dumps([result]).encode(), read_card, is_text=True),
        Kind(
            "metadata.csv",
            b"file,speaker,consent,split\na.png,ann,yes,train\na.jpg,bob,no,test\n",
            lambda path: list_sources([str(path)], path, "{parent}/{stem}.npy"),
            is_text=True,
        ),
        Kind("schedule.txt", b"0:neutral,2.5:happy,4:prior", read_schedule, is_text=True),
    ]
