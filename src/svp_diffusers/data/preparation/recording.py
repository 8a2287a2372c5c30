"""What is done to one video, from file to clips: the function that runs in every worker."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from svp_diffusers.data.clips import SAMPLING_RATE, ClipSample, encode_clip
from svp_diffusers.data.preparation.analysis import (
    MakeDetector,
    VideoAnalysis,
    analyse_video,
    make_thumbnail,
)
from svp_diffusers.data.preparation.faces import (
    DetectedFace,
    complete_track,
    crop_frame,
    load_landmarker,
    plan_crop,
)
from svp_diffusers.data.preparation.probing import ProbedVideo, probe_video
from svp_diffusers.data.preparation.settings import PreparationSettings, Reason, RejectionError
from svp_diffusers.data.preparation.shots import split_shots
from svp_diffusers.data.preparation.sources import Source
from svp_diffusers.data.preparation.speech import SpeechMeasure, measure_speech
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import (
    ConfigurationError,
    ExpressionError,
    FaceError,
    MediaError,
    SVPError,
)
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.manifest import hash_file
from svp_diffusers.media.output import atomic_path
from svp_diffusers.media.video import read_frames

OUTCOME_NAME = "outcome.json"


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
    """Read the outcome that `prepare_video` left in a directory; None if it did not finish, or was
    damaged since, so that the video is prepared anew."""
    path = directory / OUTCOME_NAME
    if not path.is_file():
        return None
    try:
        return TypeAdapter(VideoOutcome).validate_json(path.read_bytes())
    except (ValidationError, OSError):
        return None


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
        directory: becomes a small dataset with the clips, and last of all `outcome.json`.
        make_detector: finds faces where the source has no face file.

    Returns:
        The outcome, which is also the content of `outcome.json`.

    Raises:
        ConfigurationError: neither a face file nor a detector.
        DatasetError: the directory holds a dataset already.
        OutputError: the directory cannot be written.
    """
    if source.face_file is None and make_detector is None:
        raise ConfigurationError(f"{source.path} has no face file and there is no face detector")
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
            analysis = analyse_video(source, video, settings, make_detector)
            notes += analysis.notes
            for part, sample in _make_clips(source, video, analysis, settings, name):
                if sample is not None:
                    writer.write(encode_clip(sample, settings.quality))
                parts.append(part)
        except (RejectionError, MediaError, FaceError, ExpressionError) as error:
            parts.append(_reject_all(source.path, error))
    outcome = VideoOutcome(str(source.path), sha256, tuple(notes), tuple(parts))
    _write_outcome(outcome, directory)
    return outcome


def refuse_video(source: Source, directory: Path, detail: str) -> None:
    """Leave in a directory what `prepare_video` leaves of a video that cannot be read."""
    with ShardWriter(directory):
        part = PartOutcome(None, None, None, Reason.DAMAGED.value, detail, "")
    sha256 = hash_file(source.path)
    _write_outcome(VideoOutcome(str(source.path), sha256, source.notes, (part,)), directory)


def _write_outcome(outcome: VideoOutcome, directory: Path) -> None:
    parts = tuple(replace(part, detail=_spell_bytes(part.detail)) for part in outcome.parts)
    notes = tuple(map(_spell_bytes, outcome.notes))
    spelled = replace(outcome, path=_spell_bytes(outcome.path), notes=notes, parts=parts)
    with atomic_path(directory / OUTCOME_NAME) as path:
        path.write_text(json.dumps(asdict(spelled)))


def _spell_bytes(text: str) -> str:
    """A text in which bytes of a file's name that are not UTF-8 are spelled out: `caf\\udce9`."""
    return text.encode(errors="backslashreplace").decode()


def _make_clips(
    source: Source,
    video: ProbedVideo,
    analysis: VideoAnalysis,
    settings: PreparationSettings,
    name: str,
) -> Iterator[tuple[PartOutcome, ClipSample | None]]:
    """Yield every part of the video: its outcome, and the clip unless the part is refused."""
    fps = settings.fps

    def describe(frames: range, key: str | None, reason: str, detail: str) -> PartOutcome:
        thumbnail = analysis.thumbnails[(frames.start + frames.stop) // 2 // round(fps)]
        start, stop = float(frames.start / fps), float(frames.stop / fps)
        return PartOutcome(start, stop, key, reason, detail, thumbnail)

    wanted, too_short = split_shots(analysis.cuts, analysis.frames, settings)
    for frames in too_short:
        detail = f"{float(len(frames) / fps):.2f} s; at least {settings.minimum_seconds:g} s"
        yield describe(frames, None, Reason.SHORT_SHOT.value, detail), None
    pictures = enumerate(read_frames(source.path, fps))
    for number, frames in enumerate(wanted):
        try:
            plan = _plan_clip(video, analysis, frames, settings)
            shown = (picture for index, picture in pictures if index >= frames.start)
            crops = [
                crop_frame(picture, corner, plan.side, settings.size)
                for picture, corner in zip(islice(shown, len(frames)), plan.corners, strict=True)
            ]
            expressions = _get_expressions(analysis, frames, crops, settings)
        except RejectionError as error:
            yield describe(frames, None, error.reason.value, error.detail), None
            continue
        sample = ClipSample(
            key=f"{name}-{number:04d}",
            fps=fps,
            waveform=plan.sound,
            metadata={
                **source.metadata,
                **asdict(plan.speech),
                # A name in another encoding is kept readable.
                "source": _spell_bytes(source.path.name),
                "source_sha256": name.rpartition("-")[2],
                "start_seconds": float(frames.start / fps),
            },
            frames=np.stack(crops),
            head_keypoints=plan.map_keypoints(settings.size),
            expression=None if expressions is None else expressions.values,
            expression_space=None if expressions is None else expressions.space,
        )
        yield describe(frames, sample.key, "", "; ".join(plan.notes)), sample


@dataclass(frozen=True)
class _ClipPlan:
    """A part of a video that is fit to become a clip, before its pictures are read."""

    sound: np.ndarray
    speech: SpeechMeasure
    track: DetectedFace
    corners: np.ndarray
    side: float
    notes: tuple[str, ...]

    def map_keypoints(self, size: int) -> np.ndarray | None:
        """Keypoints in pixels of the cropped frames."""
        if self.track.keypoints is None:
            return None
        mapped = (self.track.keypoints - self.corners[:, None]) * (size / self.side)
        return np.asarray(mapped, np.float32)


def _plan_clip(
    video: ProbedVideo, analysis: VideoAnalysis, frames: range, settings: PreparationSettings
) -> _ClipPlan:
    """Check sound and face of a part, and plan its crop; raises `RejectionError`."""
    first, last = (
        round(frame / settings.fps * SAMPLING_RATE) for frame in (frames[0], frames.stop)
    )
    sound = analysis.waveform[first:last]
    speech = measure_speech(sound, settings)
    track, notes = complete_track(analysis.track.part(frames))
    corners, side = plan_crop(
        track.boxes, video.info.width, video.info.height, settings.fps, settings.size
    )
    return _ClipPlan(sound, speech, track, corners, side, notes)


def _get_expressions(
    analysis: VideoAnalysis,
    frames: range,
    crops: list[np.ndarray],
    settings: PreparationSettings,
) -> Expressions | None:
    """Expressions of a part, read or estimated; raises `RejectionError` where there is no face."""
    if analysis.expressions is not None:
        # The file may be a frame or two shorter than the video: its last row is held.
        rows = np.minimum(frames, len(analysis.expressions.values) - 1)
        return replace(analysis.expressions, values=analysis.expressions.values[rows])
    if not settings.estimate_expressions:
        return None
    try:
        track = follow_face(crops, settings.fps, "the clip", load_landmarker())
    except FaceError as error:
        raise RejectionError(Reason.NO_EXPRESSION, str(error)) from error
    return Expressions(track.blendshapes, "arkit52", settings.fps, "the clip")


def _reject_all(path: Path, error: SVPError) -> PartOutcome:
    rejection = (
        error if isinstance(error, RejectionError) else RejectionError(Reason.DAMAGED, str(error))
    )
    try:
        thumbnail = make_thumbnail(next(read_frames(path)))
    except (MediaError, StopIteration):
        thumbnail = ""
    return PartOutcome(None, None, None, rejection.reason.value, rejection.detail, thumbnail)


def _make_key(path: Path) -> str:
    """The last folder and the name, as far as a key may hold them."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{path.parent.name}_{path.stem}").strip("_")[-50:]
