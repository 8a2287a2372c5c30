"""A request checked to the end, and all that is read for it, before a weight is loaded."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.checkpoints.lip_sync import LipSyncCheckpoint, find_lip_sync
from svp_diffusers.checkpoints.loading import select_device
from svp_diffusers.checkpoints.precision import DTYPES
from svp_diffusers.errors import ConfigurationError, MediaError
from svp_diffusers.generation.checks import LIMITS, check_overwritten
from svp_diffusers.generation.lip_sync.request import LipSyncRequest
from svp_diffusers.media.aligned_face import find_alignment_points
from svp_diffusers.media.audio import RecordingFile, open_recording
from svp_diffusers.media.face_track import follow_points
from svp_diffusers.media.image import read_image
from svp_diffusers.media.input import check_input
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.media.output import check_output
from svp_diffusers.media.signing import VideoSigner, choose_signer
from svp_diffusers.media.video import probe, read_frames
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.pipeline_lip_sync import draw_mask
from svp_diffusers.pipelines.sound_svp import resampled_length
from svp_diffusers.pipelines.speech_svp import count_frames

SPEECH_RATE = 16000  # Hz, of the audio encoder


@dataclass(frozen=True)
class PreparedLipSync:
    """A video that can be made, given the checkpoint's weights.

    Attributes:
        request: as it was given.
        checkpoint: that makes it.
        device: to make it on.
        sound: the speech.
        num_frames: of the video.
        points: brows and nose of the face in each frame that is read, (frames, 3, 2) pixels.
        mask: (size, size) in [0, 1], 1 where faces are kept.
        signer: of the video, if it is to be signed.
    """

    request: LipSyncRequest
    checkpoint: LipSyncCheckpoint
    device: torch.device
    sound: RecordingFile
    num_frames: int
    points: NDArray[np.float32]
    mask: torch.Tensor
    signer: VideoSigner | None


def prepare_lip_sync(
    request: LipSyncRequest, landmarker: FaceLandmarker | None = None
) -> PreparedLipSync:
    """Check a request, and find the face in the frames that are needed.

    Args:
        request: what to make.
        landmarker: finds the face; the package's own networks by default.

    Raises:
        SVPError: of the kind that fits.
    """
    check_lip_sync(request)
    signer = choose_signer(request.sign, request.sign_key)
    device = select_device(request.device)
    checkpoint = find_lip_sync(request.model)
    fps = checkpoint.fps
    sound = open_recording(request.audio, fps)
    samples = resampled_length(sound.num_samples, sound.sampling_rate, SPEECH_RATE)
    num_frames = count_frames(samples, SPEECH_RATE, fps)
    mask = read_mask(request.mask, checkpoint.size)
    check_sides(request.video)
    points, _ = follow_points(
        islice(read_frames(request.video, fps), num_frames),
        find_alignment_points,
        fps,
        str(request.video),
        landmarker,
        request.face_index,
        request.bbox,
    )
    return PreparedLipSync(request, checkpoint, device, sound, num_frames, points, mask, signer)


def check_lip_sync(request: LipSyncRequest) -> None:
    """Check all that can be checked without opening a file.

    Raises:
        ConfigurationError: if a value is impossible or two contradict each other.
        MediaError: if a file is missing or empty.
        OutputError: if the output cannot be written there.
    """
    for name in ("steps", "guidance_scale", "seed"):
        (least, most), value = LIMITS[name], getattr(request, name)
        if value is not None and not least <= value <= most:  # NaN is not
            option = name.replace("_", "-")
            raise ConfigurationError(f"--{option} must be from {least} to {most}, got {value}.")
    if request.dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise ConfigurationError(f"--dtype must be one of {known}; got {request.dtype!r}.")
    if request.face_index is not None and request.bbox is not None:
        raise ConfigurationError("--bbox says where the face is: leave out --face-index.")
    for path in request.files().values():
        check_input(path)
    check_output(request.output, ".mp4")
    check_output(get_manifest_path(request.output))
    check_overwritten([*request.files().values(), request.sign_key], [request.output])


def check_sides(video: Path) -> None:
    """Raise `MediaError` for a video whose frames H.264 does not take as they are."""
    info = probe(video)
    if info.width % 2 or info.height % 2:
        raise MediaError(
            f"{video} has frames of {info.width}x{info.height} pixels; H.264 needs an even width "
            "and height: cut off a row or a column"
        )


def read_mask(path: Path | None, size: int) -> torch.Tensor:
    """Read a mask, or draw ours; see `draw_mask`.

    Returns:
        (size, size) float32 in [0, 1], 1 where faces are kept.

    Raises:
        MediaError: if it is no picture.
        ConfigurationError: if it keeps everything.
    """
    if path is None:
        return draw_mask(size)
    grey = read_image(path).convert("L").resize((size, size), Image.Resampling.LANCZOS)
    mask = torch.from_numpy(np.array(grey, dtype=np.float32) / 255)
    if mask.min() > 0.5:
        raise ConfigurationError(
            f"{path} keeps the whole face: paint black what is to be painted anew."
        )
    return mask
