"""What is done to one video, from file to clips: the function that runs in every worker."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from svp_diffusers.data.clips import SAMPLING_RATE, ClipSample, encode_clip
from svp_diffusers.data.preparation.faces import (
    FaceTrack,
    FaceTracker,
    complete_track,
    crop_frame,
    plan_crop,
    read_face_file,
)
from svp_diffusers.data.preparation.probing import ProbedVideo, probe_video
from svp_diffusers.data.preparation.settings import PreparationSettings, Reason, RejectionError
from svp_diffusers.data.preparation.shots import ShotDetector, split_shots
from svp_diffusers.data.preparation.sources import Source
from svp_diffusers.data.preparation.speech import measure_speech
from svp_diffusers.data.shards import ShardWriter, hash_file
from svp_diffusers.errors import ConfigurationError, MediaError
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.faces import FaceDetector
from svp_diffusers.media.output import atomic_path
from svp_diffusers.media.video import read_frames

OUTCOME_NAME = "outcome.json"
_THUMBNAIL = 96

MakeDetector = Callable[[], FaceDetector]


@dataclass(frozen=True)
class PartOutcome:
    """What became of a part of a video, or of all of it.

    Args:
        start, stop: seconds in the video; None when it was refused as a whole.
        key: key of the clip, None if refused.
        reason: value of a `Reason`, empty if kept.
        detail: what was found.
        thumbnail: a JPEG in base64, empty if there is no picture.
    """

    start: float | None
    stop: float | None
    key: str | None
    reason: str
    detail: str
    thumbnail: str


@dataclass(frozen=True)
class VideoOutcome:
    """What became of a video.

    Args:
        path: as listed.
        sha256: of the file's content.
        notes: what was corrected or should be known.
        parts: at least one.
    """

    path: str
    sha256: str
    notes: tuple[str, ...]
    parts: tuple[PartOutcome, ...]


def read_outcome(directory: Path) -> VideoOutcome | None:
    """Read the outcome that `prepare_video` left in a directory; None if it did not finish."""
    path = directory / OUTCOME_NAME
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    parts = tuple(PartOutcome(**part) for part in content.pop("parts"))
    return VideoOutcome(**content | {"notes": tuple(content["notes"]), "parts": parts})


def prepare_video(
    source: Source,
    settings: PreparationSettings,
    directory: Path,
    make_detector: MakeDetector | None,
) -> VideoOutcome:
    """Turn one video into clips.

    Args:
        source: the video and what is known of it.
        settings: sizes, rates and limits.
        directory: becomes a small dataset with the clips, and last of all `outcome.json`; what an
            interrupted call left there is removed.
        make_detector: finds faces where the source has no face file.

    Returns:
        The outcome, which is also the content of `outcome.json`.

    Raises:
        ConfigurationError: neither a face file nor a detector.
        OutputError: the directory cannot be written.
    """
    if source.face_file is None and make_detector is None:
        raise ConfigurationError(f"{source.path} has no face file and there is no face detector")
    shutil.rmtree(directory, ignore_errors=True)
    sha256 = hash_file(source.path)
    notes = list(source.notes)
    parts: list[PartOutcome] = []
    with ShardWriter(directory) as writer:
        try:
            if source.metadata.get("consent") == "no":
                raise RejectionError(Reason.NO_CONSENT, "the metadata say consent: no")
            video = probe_video(source.path, settings)
            notes += video.notes
            name = f"{_make_key(source.path)}-{sha256[:12]}"
            for sample, part in _make_clips(source, video, settings, name, make_detector, notes):
                if sample is not None:
                    writer.write(encode_clip(sample, settings.quality))
                parts.append(part)
        except (RejectionError, MediaError) as error:
            parts.append(_reject_all(source.path, error))
    outcome = VideoOutcome(str(source.path), sha256, tuple(notes), tuple(parts))
    with atomic_path(directory / OUTCOME_NAME) as path:
        path.write_text(json.dumps(asdict(outcome)))
    return outcome


@dataclass(frozen=True)
class _Analysis:
    """First pass over the pictures: everything that must be known before clips can be cut."""

    frames: int
    cuts: list[int]
    track: FaceTrack
    thumbnails: list[str]


def _analyse(
    source: Source,
    video: ProbedVideo,
    fps: Fraction,
    make_detector: MakeDetector | None,
) -> _Analysis:
    shots = ShotDetector(fps)
    tracker = None if source.face_file or make_detector is None else FaceTracker(make_detector())
    thumbnails = []
    frames = 0
    for frame in read_frames(source.path, fps):
        shots.add(frame)
        if tracker is not None:
            tracker.add(frame)
        if frames % round(fps) == 0:
            thumbnails.append(_make_thumbnail(frame))
        frames += 1
    if source.face_file is not None:
        track = read_face_file(source.face_file, video, fps, frames)
    else:
        assert tracker is not None
        track = tracker.track()
    return _Analysis(frames, shots.cuts, track, thumbnails)


def _make_clips(
    source: Source,
    video: ProbedVideo,
    settings: PreparationSettings,
    name: str,
    make_detector: MakeDetector | None,
    notes: list[str],
) -> Iterator[tuple[ClipSample | None, PartOutcome]]:
    """Yield every part of the video in order: the clip, or None and the reason in the outcome."""
    fps = settings.fps
    waveform = np.clip(to_mono(read_audio(source.path), SAMPLING_RATE), -1, 1)
    analysis = _analyse(source, video, fps, make_detector)
    heard = int(len(waveform) * fps / SAMPLING_RATE)
    if heard < analysis.frames - fps / 2:
        notes.append(
            f"sound ends {float((analysis.frames - heard) / fps):.1f} s before the picture"
        )
    usable = min(analysis.frames, heard)
    if analysis.cuts:
        notes.append(f"{len(analysis.cuts) + 1} shots")
    cuts = [cut for cut in analysis.cuts if cut < usable]
    wanted, too_short = split_shots(cuts, usable, settings)

    def describe(frames: range, key: str | None, reason: str, detail: str) -> PartOutcome:
        thumbnail = analysis.thumbnails[(frames.start + frames.stop) // 2 // round(fps)]
        start, stop = float(frames.start / fps), float(frames.stop / fps)
        return PartOutcome(start, stop, key, reason, detail, thumbnail)

    for frames in too_short:
        detail = f"{float(len(frames) / fps):.2f} s; at least {settings.minimum_seconds:g} s"
        yield None, describe(frames, None, Reason.SHORT_SHOT.value, detail)
    pictures = enumerate(read_frames(source.path, fps))
    for number, frames in enumerate(wanted):
        try:
            sound = waveform[_sample(frames.start, fps) : _sample(frames.stop, fps)]
            measure = measure_speech(sound, settings)
            track, filled = complete_track(analysis.track.part(frames))
            corners, side = plan_crop(
                track.boxes, video.info.width, video.info.height, fps, settings.size
            )
        except RejectionError as error:
            yield None, describe(frames, None, error.reason.value, error.detail)
            continue
        shown = (picture for index, picture in pictures if index >= frames.start)
        scale = settings.size / side
        keypoints = track.keypoints
        sample = ClipSample(
            key=f"{name}-{number:04d}",
            fps=fps,
            waveform=sound,
            metadata={
                **source.metadata,
                **asdict(measure),
                "source": source.path.name,
                "source_sha256": name.rpartition("-")[2],
                "start_seconds": float(frames.start / fps),
            },
            frames=np.stack(
                [
                    crop_frame(picture, corner, side, settings.size)
                    for picture, corner in zip(islice(shown, len(frames)), corners, strict=True)
                ]
            ),
            head_keypoints=(
                None
                if keypoints is None
                else ((keypoints - corners[:, None]) * scale).astype(np.float32)
            ),
        )
        yield sample, describe(frames, sample.key, "", "; ".join(filled))


def _sample(frame: int, fps: Fraction) -> int:
    return round(frame / fps * SAMPLING_RATE)


def _reject_all(path: Path, error: RejectionError | MediaError) -> PartOutcome:
    rejection = (
        error if isinstance(error, RejectionError) else RejectionError(Reason.DAMAGED, str(error))
    )
    try:
        thumbnail = _make_thumbnail(next(read_frames(path)))
    except (MediaError, StopIteration):
        thumbnail = ""
    return PartOutcome(None, None, None, rejection.reason.value, rejection.detail, thumbnail)


def _make_thumbnail(frame: np.ndarray) -> str:
    image = Image.fromarray(frame)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()


def _make_key(path: Path) -> str:
    """The last folder and the name, as far as a key may hold them."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{path.parent.name}_{path.stem}").strip("_")[-50:]
