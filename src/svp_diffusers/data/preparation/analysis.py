"""The first pass over a video: all that must be known before clips can be cut out of it."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from svp_diffusers.data.clips import SAMPLING_RATE
from svp_diffusers.data.preparation.faces import DetectedFace, FaceTracker, read_face_file
from svp_diffusers.data.preparation.probing import ProbedVideo
from svp_diffusers.data.preparation.settings import PreparationSettings, Reason, RejectionError
from svp_diffusers.data.preparation.shots import ShotDetector
from svp_diffusers.data.preparation.sources import Source
from svp_diffusers.errors import ExpressionError, MediaError
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.faces import FaceDetector
from svp_diffusers.media.video import read_frames

# Programs that write coefficients drop or repeat a frame at the ends.
_EXPRESSION_TOLERANCE_FRAMES = 2
_THUMBNAIL = 96

MakeDetector = Callable[[], FaceDetector]


@dataclass(frozen=True)
class VideoAnalysis:
    """A video at the constant frame rate of the settings.

    Args:
        waveform: `(n,)` float32 in [-1, 1], 16 kHz, beginning with the first picture.
        frames: number of frames that have sound.
        cuts: frames at which a shot begins, the first one left out.
        track: the face.
        expressions: one row a frame, or None when the source has no file of them.
        thumbnails: one for every second, JPEG in base64.
        notes: for the report.
    """

    waveform: np.ndarray
    frames: int
    cuts: list[int]
    track: DetectedFace
    expressions: Expressions | None
    thumbnails: list[str]
    notes: tuple[str, ...]


def analyse_video(
    source: Source,
    video: ProbedVideo,
    settings: PreparationSettings,
    make_detector: MakeDetector | None,
) -> VideoAnalysis:
    """Go through the sound and once through the pictures of a video, a frame at a time in memory.

    Args:
        source: the video, with a face file unless there is a detector.
        video: what `probe_video` found.
        settings: sizes, rates and limits.
        make_detector: makes the detector of a source without a face file.

    Raises:
        RejectionError: the face file or expression file does not belong to the video.
        MediaError: sound or pictures cannot be decoded.
    """
    fps = settings.fps
    waveform = np.clip(to_mono(read_audio(source.path), SAMPLING_RATE), -1, 1)
    shots = ShotDetector(fps)
    tracker = FaceTracker(make_detector()) if make_detector and not source.face_file else None
    thumbnails = []
    frames = 0
    for frame in read_frames(source.path, fps):
        shots.add(frame)
        if tracker is not None:
            tracker.add(frame)
        if frames % round(fps) == 0:
            thumbnails.append(make_thumbnail(frame))
        frames += 1
    if source.face_file is not None:
        track = read_face_file(source.face_file, video, fps, frames)
    else:
        assert tracker is not None
        track = tracker.track()
    notes: tuple[str, ...] = ()
    heard = int(len(waveform) * fps / SAMPLING_RATE)
    if heard < frames - fps / 2:
        notes += (f"sound ends {float((frames - heard) / fps):.1f} s before the picture",)
    usable = min(frames, heard)
    cuts = [cut for cut in shots.cuts if cut < usable]
    if cuts:
        notes += (f"{len(cuts) + 1} shots",)
    expressions = _read_expression_file(source, settings, frames)
    return VideoAnalysis(waveform, usable, cuts, track, expressions, thumbnails, notes)


def make_thumbnail(frame: np.ndarray) -> str:
    """A small JPEG of an `(H, W, 3)` frame, in base64."""
    image = Image.fromarray(frame)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()


def _read_expression_file(
    source: Source, settings: PreparationSettings, frames: int
) -> Expressions | None:
    if source.expression_file is None:
        return None
    try:
        expressions = read_expressions(source.expression_file).resample(settings.fps)
    except (ExpressionError, MediaError) as error:
        raise RejectionError(Reason.EXPRESSION_FILE, str(error)) from error
    if abs(len(expressions.values) - frames) > _EXPRESSION_TOLERANCE_FRAMES:
        raise RejectionError(
            Reason.EXPRESSION_FILE,
            f"{source.expression_file.name} lasts {len(expressions.values)} frames at "
            f"{float(settings.fps):g} fps, the video {frames}",
        )
    return expressions
