"""A finished video: marked as synthetic, signed if that is asked for, its manifest beside it."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.media.audio import Recording, RecordingFile
from svp_diffusers.media.manifest import Provenance, write_manifest
from svp_diffusers.media.output import atomic_path
from svp_diffusers.media.signing import VideoSigner
from svp_diffusers.media.video import write_video


def write_finished_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: Fraction,
    recording: Recording | RecordingFile,
    provenance: Provenance,
    signer: VideoSigner | None,
) -> None:
    """Write a video and its manifest; no video appears without its manifest, or unsigned.

    Args:
        path: of the video.
        frames: (height, width, 3) each; see `write_video`, whose errors are raised.
        fps: exact and constant.
        recording: the sound.
        provenance: what made the video.
        signer: signs it, if it is to be signed.
    """
    with atomic_path(path) as temporary:
        write_video(temporary, frames, fps, recording, {"title": path.stem})
        if signer is not None:
            signer.sign(temporary, path.name)
        write_manifest(path, provenance, content_at=temporary)
