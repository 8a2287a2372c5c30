"""One talking clip, in memory (`ClipSample`) and as the bytes that a shard stores (`StoredClip`).

A clip keyed `K` is stored in the WebDataset convention as consecutive tar members `K.json`,
`K.flac`, `K.head_keypoints.npy`, `K.expression.npy`, and either `K.reference.jpg`, `K.000000.jpg`,
`K.000001.jpg`, ... or, once cached, `K.reference_latents.npy`, `K.latents.npy`,
`K.audio_embeddings.npy` (or `K.audio_windows.npy`) and `K.style.npy`. Nothing is pickled. Our
choice.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from svp_diffusers.errors import DatasetError
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.arrays import parse_array

SAMPLING_RATE = 16_000
AUDIO_EMBEDDING_RATE = 50
"""Vectors a second of cached audio embeddings: wav2vec2's own rate."""
SPLITS = ("train", "validation", "test")
HEAD_KEYPOINT_LAYOUTS = {"head8": 8, "v3": 3}
FRAME_NAME = re.compile(r"\d{6}\.jpg")
"""Members that are frames; they come last, in their order."""
KEY = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_FRAMEWISE = ("head_keypoints", "expression", "latents", "audio_windows")
_ARRAYS = (*_FRAMEWISE, "audio_embeddings")


@dataclass(frozen=True)
class ClipSample:
    """A talking clip of `f` frames.

    Args:
        key: unique in the dataset; letters, digits, `_`, `-` and `/`, at most 80 characters.
        fps: exact frame rate.
        waveform: `(n,)` float32 in [-1, 1], mono, 16 kHz, starting with frame 0.
        frames: `(f, H, W, 3)` uint8 RGB, or None once the clip is cached as latents.
        head_keypoints: `(f, 8, 2)` ("head8") or `(f, 3, 2)` ("v3": left eye, right eye, nose),
            float pixels of the stored frames, x then y, or None.
        expression: `(f, expression_dim)` float32 or None.
        expression_space: "arkit52" or "bfm64"; None exactly when `expression` is.
        latents: `(f, c, h, w)` float16, scaled as the UNet sees them, or None.
        audio_embeddings: `(t, d)` float16, 50 Hz, or None.
        audio_windows: `(f, ...)` float16, of an audio encoder that cuts the windows of frames
            itself, or None.
        reference: `(H, W, 3)` uint8 RGB, a picture of the same person in another speaking style,
            the head posed as in frame 0, or None. It belongs to the whole clip: every span has it.
        reference_latents: `(c, h, w)` float16, its latents once the clip is cached, or None.
        style: `(2, style_dim)` float32, mean and standard deviation of its style distribution once
            the clip is cached, or None. It belongs to the whole clip, too.
        metadata: JSON values; `split` ("train", "validation" or "test") is required, and speaker,
            emotion, identity, sentence, licence, consent, source are the usual others (see
            `find_person` for what tells people apart).
    """

    key: str
    fps: Fraction
    waveform: np.ndarray
    metadata: Mapping[str, Any]
    frames: np.ndarray | None = None
    head_keypoints: np.ndarray | None = None
    expression: np.ndarray | None = None
    expression_space: str | None = None
    latents: np.ndarray | None = None
    audio_embeddings: np.ndarray | None = None
    audio_windows: np.ndarray | None = None
    reference: np.ndarray | None = None
    reference_latents: np.ndarray | None = None
    style: np.ndarray | None = None

    @property
    def number_of_frames(self) -> int:
        """Length of the clip in frames."""
        stored = self.frames if self.frames is not None else self.latents
        if stored is None:
            raise DatasetError(f"clip {self.key!r} has neither frames nor latents")
        return len(stored)

    @property
    def head_keypoints_layout(self) -> str | None:
        """Name of the keypoint layout, known from the number of points."""
        if self.head_keypoints is None:
            return None
        points = self.head_keypoints.shape[1]
        return next(name for name, number in HEAD_KEYPOINT_LAYOUTS.items() if number == points)

    def track_expression(self) -> Expressions | None:
        """The expression as a track, at the clip's own frame rate; raises `ExpressionError`."""
        if self.expression is None or self.expression_space is None:
            return None
        return Expressions(self.expression, self.expression_space, self.fps, self.key)


@dataclass(frozen=True)
class StoredClip:
    """A clip as bytes: what travels between processes, into shards and out of them.

    Args:
        key: the clip's key.
        header: the JSON member: fps, frames, pictures ("jpeg" or "latents"), height, width (of the
            pictures in pixels), expression_space, head_keypoints (layout), metadata.
        members: the other members, name without the key (`"flac"`, `"000000.jpg"`) to bytes.
    """

    key: str
    header: Mapping[str, Any]
    members: Mapping[str, bytes] = field(repr=False)

    @property
    def number_of_frames(self) -> int:
        """Length of the clip in frames."""
        return int(self.header["frames"])

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The clip's own metadata (speaker, emotion, split, ...)."""
        return self.header["metadata"]

    @property
    def fps(self) -> Fraction:
        """Exact frame rate."""
        return Fraction(self.header["fps"])

    def decode_waveform(self) -> np.ndarray:
        """Decode the sound of the whole clip alone, `(n,)` float32 in [-1, 1], 16 kHz.

        Raises:
            DatasetError: it is damaged.
        """
        try:
            return _decode_waveform(self.members["flac"], self.header["samples"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from error

    def decode(
        self,
        start: int = 0,
        stop: int | None = None,
        pictures: bool = True,
        sound: bool = True,
    ) -> ClipSample:
        """Decode frames `start` to `stop` (not included) and all that goes with them.

        The waveform and audio embeddings are cut to the same span of time. Only the frames asked
        for are decompressed; without `pictures` none, nor the reference, and without `sound` the
        waveform is empty.

        Raises:
            DatasetError: the span is empty or outside the clip, or a member is damaged.
        """
        stop = self.number_of_frames if stop is None else stop
        if not 0 <= start < stop <= self.number_of_frames:
            raise DatasetError(
                f"frames {start}:{stop} are not inside clip {self.key!r} of "
                f"{self.number_of_frames} frames"
            )
        arrays = {name: self.array(name) for name in _ARRAYS}
        for name in _FRAMEWISE:
            array = arrays[name]
            if array is not None and (array.ndim < 2 or len(array) != self.number_of_frames):
                raise self._damaged(ValueError(f"{name} has the shape {array.shape}"))
        pictured = pictures and arrays["latents"] is None
        frames = self._frames(start, stop) if pictured else None
        referenced = pictures and "reference.jpg" in self.members
        reference = self.picture("reference") if referenced else None
        waveform = self.decode_waveform() if sound else np.zeros(0, np.float32)
        embeddings = arrays.pop("audio_embeddings")
        return ClipSample(
            key=self.key,
            fps=self.fps,
            waveform=_cut(waveform, start / self.fps, stop / self.fps, SAMPLING_RATE),
            metadata=self.metadata,
            frames=frames,
            expression_space=self.header["expression_space"],
            audio_embeddings=(
                None
                if embeddings is None
                else _cut(embeddings, start / self.fps, stop / self.fps, AUDIO_EMBEDDING_RATE)
            ),
            reference=reference,
            reference_latents=self.array("reference_latents"),
            style=self.array("style"),
            **{name: None if a is None else a[start:stop] for name, a in arrays.items()},
        )

    def _damaged(self, error: Exception) -> DatasetError:
        return DatasetError(f"clip {self.key!r} is damaged ({error}); run `svp data verify`")

    def array(self, name: str) -> np.ndarray | None:
        """The array stored as the member `name`, or None.

        Raises:
            DatasetError: it is damaged.
        """
        data = self.members.get(f"{name}.npy")
        try:
            return None if data is None else parse_array(data)
        except ValueError as error:
            raise self._damaged(error) from error

    def _frames(self, start: int, stop: int) -> np.ndarray:
        return np.stack([self.picture(f"{index:06d}") for index in range(start, stop)])

    def picture(self, name: str) -> np.ndarray:
        """The picture `(H, W, 3)` uint8 stored as the member `name`, e.g. "000012".

        Raises:
            DatasetError: it is missing or damaged.
        """
        try:
            with Image.open(io.BytesIO(self.members[f"{name}.jpg"]), formats=["JPEG"]) as picture:
                expected = (self.header["width"], self.header["height"])
                if picture.size != expected or picture.mode != "RGB":
                    raise ValueError(f"{name}.jpg is {picture.size}, not {expected}")
                return np.array(picture)
        except (KeyError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise self._damaged(error) from error


def encode_clip(sample: ClipSample, quality: int = 95) -> StoredClip:
    """Compress a clip; the same clip gives the same bytes.

    Args:
        sample: the clip.
        quality: JPEG quality of the frames, 4:4:4 chroma so that lips keep their colour.

    Raises:
        DatasetError: the key, shapes, dtypes or lengths break the rules in `ClipSample`.
    """
    _check(sample)
    shape = sample.frames.shape if sample.frames is not None else (0, None, None)
    header = {
        "fps": str(sample.fps),
        "frames": sample.number_of_frames,
        "pictures": "jpeg" if sample.latents is None else "latents",
        "height": shape[1],
        "width": shape[2],
        "samples": len(sample.waveform),
        "sampling_rate": SAMPLING_RATE,
        "expression_space": sample.expression_space,
        "head_keypoints": sample.head_keypoints_layout,
        "metadata": dict(sample.metadata),
    }
    members = {"flac": _encode_waveform(sample.waveform)}
    for name in (*_ARRAYS, "reference_latents", "style"):
        array = getattr(sample, name)
        if array is not None:
            members[f"{name}.npy"] = _encode_array(array)
    if sample.reference is not None:
        members["reference.jpg"] = _encode_frame(sample.reference, quality)
    for index, frame in enumerate(() if sample.frames is None else sample.frames):
        members[f"{index:06d}.jpg"] = _encode_frame(frame, quality)
    return StoredClip(sample.key, header, members)


def _check(sample: ClipSample) -> None:
    def fail(problem: str) -> None:
        raise DatasetError(f"clip {sample.key!r}: {problem}")

    if not KEY.fullmatch(sample.key) or len(sample.key) > 80:
        fail("a key has letters, digits, '_', '-' and '/' only, at most 80 of them")
    if sample.metadata.get("split") not in SPLITS:
        fail(f"metadata['split'] must be one of {', '.join(SPLITS)}")
    if sample.waveform.ndim != 1 or sample.waveform.dtype != np.float32:
        fail("the waveform must be (n,) float32")
    if not np.isfinite(sample.waveform).all() or np.abs(sample.waveform).max(initial=0) > 1:
        fail("the waveform must be finite and within [-1, 1]")
    frames = sample.frames
    if frames is not None and (
        frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8
    ):
        fail(f"frames must be (f, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    length = sample.number_of_frames
    if length == 0:
        fail("has no frame")
    for name in _FRAMEWISE:
        array = getattr(sample, name)
        if array is not None and (len(array) != length or not np.isfinite(array).all()):
            fail(f"{name} must be finite, one row for each of the {length} frames")
    keypoints = sample.head_keypoints
    if keypoints is not None and keypoints.shape[1:] not in ((8, 2), (3, 2)):
        fail(f"head_keypoints must be (f, 8, 2) or (f, 3, 2), not {keypoints.shape}")
    style = sample.style
    if style is not None and (style.ndim != 2 or len(style) != 2 or not np.isfinite(style).all()):
        fail(f"style must be finite, a mean and a standard deviation, not {style.shape}")
    if (sample.expression is None) != (sample.expression_space is None):
        fail("expression and expression_space go together")
    _check_reference(sample.reference, frames, "reference", fail)
    _check_reference(sample.reference_latents, sample.latents, "reference_latents", fail)


def _check_reference(
    reference: np.ndarray | None, frames: np.ndarray | None, name: str, fail: Callable[[str], None]
) -> None:
    if reference is None:
        return
    if frames is None or reference.shape != frames.shape[1:] or reference.dtype != frames.dtype:
        wanted = "no frames" if frames is None else f"frames of {frames.shape[1:]} {frames.dtype}"
        fail(f"{name} is {reference.shape} {reference.dtype}, beside {wanted}")


def _cut(values: np.ndarray, start: Fraction, stop: Fraction, rate: int) -> np.ndarray:
    return values[round(start * rate) : round(stop * rate)]


def _encode_array(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _encode_frame(frame: np.ndarray, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def _encode_waveform(waveform: np.ndarray) -> bytes:
    import soundfile

    stream = io.BytesIO()
    samples = np.clip(np.round(waveform * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(stream, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _decode_waveform(data: bytes, samples: int) -> np.ndarray:
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        found = (file.frames, file.samplerate, file.channels)
        if found != (samples, SAMPLING_RATE, 1):
            raise ValueError(f"its sound has (samples, rate, channels) {found}, not {samples}")
        return np.asarray(file.read(dtype="float32"))


def encode_header(header: Mapping[str, Any]) -> bytes:
    """JSON member of a stored clip, the same bytes for the same values."""
    return json.dumps(header, sort_keys=True, ensure_ascii=False).encode()
