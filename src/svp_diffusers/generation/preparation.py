"""A request checked to the end, and all that is read for it, before a weight is loaded."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.json_files import read_config
from svp_diffusers.checkpoints.loading import (
    CallDefaults,
    find_checkpoint,
    outline_style_encoder,
    read_call_defaults,
    select_device,
)
from svp_diffusers.checkpoints.style_adapters import find_adapter
from svp_diffusers.generation.checks import (
    check_guidance,
    check_overwritten,
    check_request,
    choose_size,
)
from svp_diffusers.generation.face_embedding import read_face_embedding
from svp_diffusers.generation.head_motion import (
    check_generated_motion,
    choose_head_pictures,
    prepare_head_motion,
    warn_of_large_motion,
)
from svp_diffusers.generation.portrait import Portrait, prepare_portraits
from svp_diffusers.generation.pose_video import check_pose_video, read_pose_pictures
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.generation.streaming import choose_streaming
from svp_diffusers.generation.styles import check_styles
from svp_diffusers.generation.voices import Voices, join_voices
from svp_diffusers.generation.whole_picture import place_portraits
from svp_diffusers.media.audio import open_recording
from svp_diffusers.media.faces import FaceDetector
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.image import read_image
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.media.paste_back import PastedCrop, trim_to_even
from svp_diffusers.media.signing import VideoSigner, choose_signer
from svp_diffusers.pipelines.head_pictures_svp import HeadPictures
from svp_diffusers.style.parse import StyleEntry, parse_style


@dataclass(frozen=True)
class PreparedVideo:
    """A video that can be made, given the checkpoint's weights.

    Attributes:
        asked: the request as it was given.
        request: the same with the checkpoint's windows and detail filled in.
        outputs: the videos to write.
        folder: of the checkpoint.
        adapter: of the style adapter, if there is one.
        device: to make it on.
        fps: of the video.
        size: side of what is generated in pixels.
        voices: what is heard, and what each face says.
        styles: one, several for a schedule, or none for the prior.
        portraits: the faces that speak.
        head_pictures: what the pipeline is shown of each portrait's head; None if it moves it.
        face_embedding: whose face it is, if that is known.
        pasted: where the portraits are put back into the picture, if they are.
        streamed: whether frames are written as they are finished.
        signer: of the videos, if they are to be signed.
    """

    asked: GenerationRequest
    request: GenerationRequest
    outputs: list[Path]
    folder: Path
    adapter: Path | None
    device: torch.device
    fps: Fraction
    size: int
    voices: Voices
    styles: list[StyleEntry]
    portraits: list[Portrait]
    head_pictures: list[HeadPictures | None]
    face_embedding: NDArray[np.float32] | None
    pasted: list[PastedCrop]
    streamed: bool
    signer: VideoSigner | None


def prepare_video(
    request: GenerationRequest, detector: FaceDetector | None = None
) -> PreparedVideo:
    """Check a request and read its files.

    Args:
        request: what to make.
        detector: finds the portrait's face; the package's own networks by default.

    Raises:
        SVPError: of the kind that fits.
    """
    outputs = check_request(request)
    signer = choose_signer(request.sign, request.sign_key)
    given_fps = None if request.fps is None else parse_fps(request.fps)
    picture = read_image(request.image)
    device = select_device(request.device)
    folder = find_checkpoint(request.model)
    adapter = None if request.style_adapter is None else find_adapter(request.style_adapter)
    face_embedding = read_face_embedding(request.face_embedding, folder)
    defaults = read_call_defaults(folder)
    filled = fill_call(request, defaults)
    fps = defaults.fps if given_fps is None else given_fps
    if filled.speakers:
        voices = join_voices(filled.speakers, filled.audio, fps)
    else:
        assert filled.audio is not None  # as is checked
        sound = open_recording(filled.audio, fps)  # which is read when it is needed
        voices = Voices(sound, (filled.face_index,), (sound,))
    layout = read_config(folder, "head_guider")["keypoint_layout"]
    unet = read_config(folder, "unet")
    check_guidance(filled, unet)
    size = choose_size(filled, unet["sample_size"], unet["motion_max_seq_length"])
    outline = outline_style_encoder(adapter or folder)
    styles = parse_style(filled.style, outline.style_bank)
    check_styles(styles, outline, voices.heard.duration)
    style_files = [each.file for each in styles if each.file is not None]
    check_overwritten([*filled.files().values(), *style_files, filled.sign_key], outputs)
    detector = detector or LandmarkFaceDetector()
    if filled.paste_back:
        picture = trim_to_even(picture)
    check_pose_video(filled, layout)
    portraits = prepare_portraits(filled, voices.faces, picture, size, layout, detector)
    motion = _take_over_motion(filled, portraits, voices, fps, folder, layout, size, detector)
    pictures: list[HeadPictures | None] = [
        choose_head_pictures(each, motion, layout, size) for each in portraits
    ]
    if filled.pose_video is not None:
        pictures = [read_pose_pictures(filled.pose_video, fps, voices.count_frames(fps), size)]
    return PreparedVideo(
        asked=request,
        request=filled,
        outputs=outputs,
        folder=folder,
        adapter=adapter,
        device=device,
        fps=fps,
        size=size,
        voices=voices,
        styles=styles,
        portraits=portraits,
        head_pictures=pictures,
        face_embedding=face_embedding,
        pasted=place_portraits(picture, portraits) if filled.paste_back else [],
        streamed=choose_streaming(filled, styles, folder, voices),
        signer=signer,
    )


def fill_call(request: GenerationRequest, defaults: CallDefaults) -> GenerationRequest:
    """Put the checkpoint's windows and detail where none were asked for."""
    length, overlap, scale = request.context_length, request.context_overlap, request.detail_scale
    return replace(
        request,
        detail_scale=defaults.detail_scale if scale is None else scale,
        context_length=defaults.context_length if length is None else length,
        context_overlap=defaults.context_overlap if overlap is None else overlap,
    )


def _take_over_motion(
    request: GenerationRequest,
    portraits: list[Portrait],
    voices: Voices,
    fps: Fraction,
    folder: Path,
    layout: str,
    size: int,
    detector: FaceDetector,
) -> NDArray[np.float32] | None:
    """The motion of the driver, if there is one; else check that what was asked for can be."""
    landmarker = detector.landmarker if isinstance(detector, LandmarkFaceDetector) else None
    num_frames = voices.count_frames(fps)
    motion = prepare_head_motion(request, portraits[0], fps, num_frames, layout, landmarker)
    if motion is not None:
        warn_of_large_motion(folder, motion, size)
    if request.head_motion == "generated":
        for portrait in portraits:
            check_generated_motion(folder, portrait, layout)
    return motion
