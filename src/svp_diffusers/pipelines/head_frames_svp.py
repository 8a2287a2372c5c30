"""The head of a portrait for SVP, frame by frame, as it moves.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from diffusers import ModelMixin
from numpy.typing import NDArray

from .call_svp import CallSettings
from .head_pictures_svp import DrawnKeypoints, HeadPictures
from .head_pose_svp import HeadMotion, drive_keypoints, find_head
from .head_svp import Head
from .speech_frames_svp import Tape

Hear = Callable[[torch.Tensor], torch.Tensor]
ReadStyles = Callable[[int, int], torch.Tensor]


class ShownHead(NamedTuple):
    """The head in some frames.

    Attributes:
        features: of the head guider, (1, channels, frames, h, w), or of one frame for a still head.
        keypoints: (frames, 8, 2) in pixels, of a head that moves.
    """

    features: torch.Tensor | None
    keypoints: torch.Tensor | None


ReadHead = Callable[[int, int], ShownHead]


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
        hear: Hear | None,
        num_frames: int | None,
        styles: ReadStyles,
        settings: CallSettings,
        generator: torch.Generator | None,
    ) -> ReadHead:
        """Give the head of some frames, by the first and the one after the last.

        The arguments are those of `move_head`; no motion shows the head as it is.
        """
        pictures = head.pictures
        if motion is not None:
            move = self.move_head(
                head, motion, scale, hear, num_frames, styles, settings, generator
            )
            return lambda start, stop: ShownHead(*move(start, stop))
        if pictures is None:
            return lambda start, stop: ShownHead(None, None)
        if len(pictures) == 1:
            still = self.encode_heads(pictures)
            return lambda start, stop: ShownHead(still, None)
        device = self._execution_device
        places = read_places(pictures)
        return lambda start, stop: ShownHead(
            self.encode_head(pictures, start, stop, device),
            None if places is None else places[start:stop],
        )

    def move_head(
        self,
        head: Head,
        motion: HeadMotion,
        scale: float,
        hear: Hear | None,
        num_frames: int | None,
        styles: ReadStyles,
        settings: CallSettings,
        generator: torch.Generator | None,
    ) -> Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]:
        """Give features and keypoints of a moving head, see `ShownHead`, of frames in their order.

        Args:
            head: whose keypoints are known: it moves from where it is in the portrait on.
            motion: "generated", or poses (num_frames, 6).
            scale: factor of the motion.
            hear: gives the speech's embeddings by their numbers, which may lie outside; poses need
                none.
            num_frames: of the video, if they are known.
            styles: gives the style of some frames, (style_dim,) or (frames, style_dim).
            settings: of the call.
            generator: of the draw.
        """
        keypoints = head.keypoints
        assert keypoints is not None
        if isinstance(motion, str):
            poses = self._generate_poses(keypoints, hear, num_frames, styles, settings, generator)
        else:
            poses = iter([torch.as_tensor(motion).cpu()])
        driven, device = (
            Tape(self._drive(keypoints, poses, settings.width, scale)),
            self._execution_device,
        )

        def read(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
            driven.drop(start)
            places = driven.read(start, stop)
            # The first picture of all is the portrait's own.
            shown = np.concatenate([keypoints[None], places.numpy()])
            drawn = DrawnKeypoints(shown, settings.height, settings.width)
            return self.encode_head(drawn, 1, 1 + stop - start, device), places

        return read

    def _generate_poses(
        self,
        keypoints: NDArray[np.floating],
        hear: Hear | None,
        num_frames: int | None,
        styles: ReadStyles,
        settings: CallSettings,
        generator: torch.Generator | None,
    ) -> Iterator[torch.Tensor]:
        """Generate how the head moves, (frames, 6) at a time, when it is needed.

        From a generator of its own, so that what else is drawn does not depend on when the head
        is: where their number is known a copy, and `generator` is moved on by what is going to be
        drawn; else one that it seeds.
        """
        assert self.head_motion is not None
        assert hear is not None
        fps, device = float(settings.fps), self._execution_device
        own = generator
        if num_frames is not None and generator is not None:
            own = torch.Generator(generator.device)
            own.set_state(generator.get_state())
            self.head_motion.skip(num_frames, fps, generator, device)
        elif generator is not None:
            seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
            own = torch.Generator(generator.device).manual_seed(int(seed))

        def style_at(frame: int) -> torch.Tensor:
            frame = frame if num_frames is None else min(frame, num_frames - 1)
            return styles(frame, frame + 1).reshape(-1)

        start = torch.from_numpy(find_head(keypoints).pose).float().to(device)
        poses: Iterator[torch.Tensor] = self.head_motion.generate_pieces(
            hear, style_at, start, num_frames, fps, generator=own
        )
        return (piece.cpu() for piece in poses)

    def _drive(
        self,
        keypoints: NDArray[np.floating],
        poses: Iterator[torch.Tensor],
        width: int,
        scale: float,
    ) -> Iterator[torch.Tensor]:
        """Keypoints (frames, points, 2) of poses (frames, 6), which come piece by piece.

        The first frame's are the portrait's own, and need no pose: it can be shown at once.
        """
        yield torch.from_numpy(keypoints[None].astype(np.float32))
        first_piece = next(poses)
        first = first_piece[:1]
        for piece in chain([first_piece[1:]], poses):
            both = torch.cat([first, piece]).numpy()
            yield torch.from_numpy(drive_keypoints(keypoints, both, width, scale)[1:])


def read_places(pictures: HeadPictures | None) -> torch.Tensor | None:
    """Keypoints (frames, 8, 2) of pictures that are drawn of 8 in each of several frames."""
    if not isinstance(pictures, DrawnKeypoints) or len(pictures) < 2:
        return None
    places = torch.as_tensor(np.asarray(pictures.keypoints, np.float32))
    return places if places.shape[1] == 8 else None
