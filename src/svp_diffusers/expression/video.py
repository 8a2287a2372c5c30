"""ARKit coefficients of the face in a video, by the package's own Face Landmarker.

Google's package of these networks, mediapipe, is not needed: from 0.10.35 on it sends usage data,
which nothing switches off, and its wheels hold no networks.
"""

from pathlib import Path

from svp_diffusers.expression.track import EXPRESSION_FPS, Expressions
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.video import read_frames
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker


def read_video_expressions(
    video: str | Path, landmarker: FaceLandmarker | None = None
) -> Expressions:
    """Expressions of the largest face of a video at 25 frames per second, by its timestamps.

    `tongueOut`, which the networks do not give, is 0.

    Args:
        video: any file with pictures, of any or of a variable frame rate.
        landmarker: by default the package's own networks.

    Raises:
        MediaError: the file is missing, empty or no video.
        FaceError: no face, or too many frames without one.
    """
    frames = read_frames(video, EXPRESSION_FPS)
    track = follow_face(frames, EXPRESSION_FPS, Path(video).name, landmarker)
    return Expressions(track.blendshapes, "arkit52", EXPRESSION_FPS, str(video))
