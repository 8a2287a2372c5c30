"""Pictures of poses, for checkpoints that are driven by them."""

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from svp_diffusers.errors import FaceError, MediaError
from svp_diffusers.generation.portrait import cut_middle
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.keypoints import play_back_and_forth
from svp_diffusers.media.video import read_frames


def check_pose_video(request: GenerationRequest, layout: str) -> None:
    """Check that there are pose pictures where the checkpoint is driven by them, and nowhere else.

    Args:
        request: what to make.
        layout: of what the checkpoint's head guider is shown.

    Raises:
        FaceError: if not, or if something else says where the face is or how the head moves.
    """
    if layout != "pose":
        if request.pose_video is not None:
            raise FaceError(
                f"This checkpoint's guider is shown the {layout}, not poses: leave out "
                "--pose-video."
            )
        return
    if request.pose_video is None:
        raise FaceError(
            "This checkpoint is driven by pictures of poses, and speech moves nothing: give "
            "--pose-video, a video of them in the portrait's framing."
        )
    others = {
        "--bbox": request.bbox,
        "--face-index": request.face_index,
        "--head-motion": request.head_motion,
        "--paste-back": request.paste_back or None,
    }
    given = [option for option, value in others.items() if value is not None]
    if given:
        raise FaceError(f"--pose-video shows where everything is: leave out {', '.join(given)}.")


def read_pose_pictures(path: Path, fps: Fraction, num_frames: int, size: int) -> torch.Tensor:
    """Read the pose pictures of a video: as many as it needs, from the square in their middle.

    Those of a shorter one are played back and forth.

    Returns:
        (num_frames, 3, size, size) uint8.

    Raises:
        MediaError: if it cannot be read, or has no frame.
    """
    frames = [
        np.asarray(cut_middle(Image.fromarray(frame), size, None)[0].image)
        for frame in islice(read_frames(path, fps), num_frames)
    ]
    if not frames:
        raise MediaError(f"{path} has no frames.")
    shown = np.stack(frames)[play_back_and_forth(len(frames), num_frames)]
    return torch.from_numpy(shown).permute(0, 3, 1, 2)
