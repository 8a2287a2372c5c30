"""From files to files: the job of `svp lip-sync`."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.lip_sync import load_lip_sync
from svp_diffusers.checkpoints.loading import name_checkpoint
from svp_diffusers.generation.finished_video import write_finished_video
from svp_diffusers.generation.generate import Progress, numbers_only
from svp_diffusers.generation.lip_sync.preparation import PreparedLipSync, prepare_lip_sync
from svp_diffusers.generation.lip_sync.request import LipSyncRequest
from svp_diffusers.generation.provenance import ELSEWHERE, hash_checkpoint
from svp_diffusers.media.aligned_face import AlignedFace, align_face, fade_in
from svp_diffusers.media.back_and_forth import read_back_and_forth
from svp_diffusers.media.keypoints import play_back_and_forth
from svp_diffusers.media.locking import WORK_PATIENCE_SECONDS, hold
from svp_diffusers.media.manifest import Provenance
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.pipeline_lip_sync import LipSyncPipeline
from svp_diffusers.pipelines.sound_svp import StoredSound


def sync_lips(
    request: LipSyncRequest,
    on_progress: Progress = lambda task, done, total: None,
    landmarker: FaceLandmarker | None = None,
) -> Path:
    """Make the video of a request, with its manifest beside it; see `prepare_lip_sync`.

    Args:
        request: what to make.
        on_progress: called at every frame that is written.
        landmarker: finds the face; the package's own networks by default.

    Returns:
        The video.

    Raises:
        SVPError: of the kind that fits, before any weight is loaded; nothing is left behind.
    """
    prepared = prepare_lip_sync(request, landmarker)
    with hold(request.output, "video", patience=WORK_PATIENCE_SECONDS):
        checkpoint = prepared.checkpoint
        pipeline = load_lip_sync(checkpoint.folder, prepared.device, request.dtype)
        pipeline.set_progress_bar_config(disable=True)
        frames = report(make_frames(prepared, pipeline), prepared.num_frames, on_progress)
        with numbers_only():
            write_finished_video(
                request.output,
                frames,
                checkpoint.fps,
                prepared.sound,
                describe(prepared),
                prepared.signer,
            )
    return request.output


def make_frames(
    prepared: PreparedLipSync, pipeline: LipSyncPipeline
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames (height, width, 3) of the video; those of a clip are in memory."""
    request, total = prepared.request, prepared.num_frames
    length, size = len(prepared.points), prepared.checkpoint.size
    shown = read_back_and_forth(request.video, prepared.checkpoint.fps, length, total)
    weights = fade_in(prepared.mask.numpy())
    waiting: deque[tuple[NDArray[np.uint8], AlignedFace]] = deque()

    def cut_faces() -> Iterator[torch.Tensor]:
        for number, frame in zip(play_back_and_forth(length, total), shown, strict=True):
            aligned = align_face(prepared.points[number], size)
            waiting.append((frame, aligned))
            yield torch.tensor(aligned.cut(frame)).permute(2, 0, 1).float() / 255

    clips = pipeline.stream(
        cut_faces(),
        StoredSound(prepared.sound.read, prepared.sound.sampling_rate),
        prepared.mask,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator().manual_seed(request.seed),
    )
    for clip in clips:
        faces = (clip.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for face in faces:
            frame, aligned = waiting.popleft()
            yield aligned.paste(frame, face, weights)


def report(
    frames: Iterator[NDArray[np.uint8]], total: int, on_progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    """Pass frames on, and tell how many there were."""
    on_progress("frames", 0, total)
    for number, frame in enumerate(frames):
        yield frame
        on_progress("frames", number + 1, total)


def describe(prepared: PreparedLipSync) -> Provenance:
    """What the manifest says: the request as it was given, and with all values filled in."""
    asked, checkpoint = prepared.request, prepared.checkpoint
    used = replace(
        asked,
        steps=asked.steps or checkpoint.num_inference_steps,
        guidance_scale=(
            checkpoint.guidance_scale if asked.guidance_scale is None else asked.guidance_scale
        ),
        device=str(prepared.device),
    )
    source = name_checkpoint(asked.model)
    named = {**asdict(asked), "model": source}
    return Provenance(
        seed=asked.seed,
        request={name: value for name, value in named.items() if name not in ELSEWHERE},
        arguments={**asdict(used), "model": source, "fps": str(checkpoint.fps)},
        inputs=asked.files(),
        checkpoint={"source": source, **hash_checkpoint(checkpoint.folder, None)},
        machine={"device": str(prepared.device), "threads": torch.get_num_threads()},
    )
