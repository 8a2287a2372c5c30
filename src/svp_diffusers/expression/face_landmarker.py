"""ARKit-52 coefficients from a video, by MediaPipe's Face Landmarker (an optional extra)."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import ExpressionError, MissingDependencyError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.input import check_input
from svp_diffusers.media.video import probe, read_frames


def read_video_expressions(video: str | Path, model: str | Path) -> Expressions:
    """Expressions of the most prominent face of a video, resampled to 25 frames per second.

    Args:
        video: any file with pictures.
        model: the `face_landmarker.task` file that MediaPipe publishes.

    Raises:
        MissingDependencyError: mediapipe is not installed.
        MediaError: a file is missing, empty or not media.
        ExpressionError: a frame without a face.
    """
    model = check_input(model)
    fps = probe(video).fps
    return estimate_expressions(read_frames(video), fps, model, str(video)).resample()


def estimate_expressions(
    frames: Iterable[NDArray[np.uint8]], fps: Fraction, model: str | Path, source: str
) -> Expressions:
    """Expressions of the most prominent face of `(height, width, 3)` RGB frames, one row each.

    Args:
        frames: at least one.
        fps: of the frames.
        model: the `face_landmarker.task` file that MediaPipe publishes.
        source: where the frames come from, for messages.

    Raises:
        MissingDependencyError: mediapipe is not installed.
        ExpressionError: a frame without a face.
    """
    results = _detect(frames, Path(model), float(fps))
    values = [
        convert_blendshapes(result, f"frame {index} of {source}")
        for index, result in enumerate(results)
    ]
    return Expressions(np.stack(values), "arkit52", fps, source)


def convert_blendshapes(result: Any, where: str) -> NDArray[np.float32]:
    """A `FaceLandmarkerResult` -> `(52,)` coefficients in ARKit order; `tongueOut`, which MediaPipe
    does not give, is 0. Raises `ExpressionError` when there is no face."""
    if not result.face_blendshapes:
        raise ExpressionError(f"no face in {where}; cut the clip to where the face is seen")
    scores = {category.category_name: category.score for category in result.face_blendshapes[0]}
    return np.array([scores.get(name, 0.0) for name in ARKIT_BLENDSHAPES], dtype=np.float32)


def _detect(frames: Iterable[NDArray[np.uint8]], model: Path, fps: float) -> Iterator[Any]:
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise MissingDependencyError(
            "expressions from video need mediapipe: pip install 'svp-diffusers[landmarks]'"
        ) from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=model.read_bytes()),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
    )
    try:
        landmarker = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ExpressionError(f"{model} is no Face Landmarker model: {error}") from error
    with landmarker:
        for index, frame in enumerate(frames):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
            yield landmarker.detect_for_video(image, round(1000 * index / fps))
