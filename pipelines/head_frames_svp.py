"""The head of a portrait for SVP, frame by frame, as a video is streamed.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch
from diffusers import ModelMixin
from numpy.typing import NDArray

from .call_svp import CallSettings
from .head_pictures_svp import DrawnKeypoints
from .head_pose_svp import HeadMotion, drive_keypoints, find_head
from .head_svp import Head
from .speech_frames_svp import SpeechFrames, Tape


class HeadFramesMixin:
    """Moves a head piece by piece, for a pipeline that has the components named here."""

    head_motion: ModelMixin | None
    encode_head: Callable[..., torch.Tensor]
    encode_heads: Callable[..., torch.Tensor]
    _execution_device: torch.device

    def prepare_heads(
        self,
        head: Head,
        motion: HeadMotion,
        scale: float,
        speech: SpeechFrames,
        styles: Callable[[int, int], torch.Tensor],
        settings: CallSettings,
        generator: torch.Generator | None,
    ) -> Callable[[int, int], torch.Tensor | None]:
        """Give the head features (1, channels, frames, h, w) of some frames, or of a still head."""
        pictures, keypoints = head.pictures, head.keypoints
        if motion is None:
            if pictures is None:
                return lambda start, stop: None
            if len(pictures) == 1:
                still = self.encode_heads(pictures)
                return lambda start, stop: still
            return lambda start, stop: self.encode_head(pictures, start, stop)
        assert keypoints is not None
        if isinstance(motion, str):
            poses = self._generate_poses(keypoints, speech, styles, settings, generator)
        else:
            poses = iter([torch.as_tensor(motion).cpu()])
        driven = Tape(self._drive(keypoints, poses, settings.width, scale))

        def read(start: int, stop: int) -> torch.Tensor:
            driven.drop(start)
            # The first picture of all is the portrait's own.
            shown = np.concatenate([keypoints[None], driven.read(start, stop).numpy()])
            drawn = DrawnKeypoints(shown, settings.height, settings.width)
            return self.encode_head(drawn, 1, 1 + stop - start)

        return read

    def _generate_poses(
        self,
        keypoints: NDArray[np.floating],
        speech: SpeechFrames,
        styles: Callable[[int, int], torch.Tensor],
        settings: CallSettings,
        generator: torch.Generator | None,
    ) -> Iterator[torch.Tensor]:
        """Generate how the head moves, (frames, 6) at a time, when it is needed.

        Of a recording, from a copy of the generator, which is moved on by what is going to be drawn
        so that the noise is that of a call.
        """
        assert self.head_motion is not None
        num_frames, fps, device = speech.num_frames, float(settings.fps), self._execution_device
        own = generator
        if num_frames is not None and generator is not None:
            own = torch.Generator(generator.device)
            own.set_state(generator.get_state())
            self.head_motion.skip(num_frames, fps, generator, device)

        def style_at(frame: int) -> torch.Tensor:
            frame = frame if num_frames is None else min(frame, num_frames - 1)
            return styles(frame, frame + 1).reshape(-1)

        start = torch.from_numpy(find_head(keypoints).pose).float().to(device)
        poses: Iterator[torch.Tensor] = self.head_motion.generate_pieces(
            speech.hear, style_at, start, num_frames, fps, generator=own
        )
        return (piece.cpu() for piece in poses)

    def _drive(
        self,
        keypoints: NDArray[np.floating],
        poses: Iterator[torch.Tensor],
        width: int,
        scale: float,
    ) -> Iterator[torch.Tensor]:
        """Keypoints (frames, points, 2) of poses (frames, 6), which come piece by piece."""
        first_piece = next(poses)
        first = first_piece[:1]
        for piece in chain([first_piece], poses):
            both = torch.cat([first, piece]).numpy()
            yield torch.from_numpy(drive_keypoints(keypoints, both, width, scale)[1:])
