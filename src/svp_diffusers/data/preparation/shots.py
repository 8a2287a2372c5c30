"""Where one shot ends and the next begins."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
from PIL import Image

from svp_diffusers.data.preparation.settings import PreparationSettings
from svp_diffusers.errors import MissingDependencyError

# Cuts are seen as well in small pictures, and much faster.
_WIDTH = 160


class ShotDetector:
    """Collect hard cuts while frames go by, with PySceneDetect's adaptive detector.

    Args:
        fps: rate of the frames that will come.

    Raises:
        MissingDependencyError: scenedetect is not installed.
    """

    def __init__(self, fps: Fraction) -> None:
        try:
            from scenedetect.detectors import AdaptiveDetector
        except ImportError as error:
            raise MissingDependencyError(
                "finding shot cuts needs scenedetect: pip install 'svp-diffusers[data]'"
            ) from error
        # A fifth of a second: two cuts closer than that are a flash, not shots.
        self._detector = AdaptiveDetector(min_scene_len=max(1, round(fps / 5)))
        self._fps = float(fps)
        self._frames = 0
        self.cuts: list[int] = []

    def add(self, frame: np.ndarray) -> None:
        """Look at the next `(H, W, 3)` RGB frame; afterwards `cuts` has all cuts known so far."""
        from scenedetect import FrameTimecode

        small = Image.fromarray(frame)
        small.thumbnail((_WIDTH, _WIDTH), Image.Resampling.BOX)
        bgr = np.ascontiguousarray(np.asarray(small)[:, :, ::-1])
        found = self._detector.process_frame(FrameTimecode(self._frames, self._fps), bgr)
        self.cuts += [timecode.frame_num for timecode in found]
        self._frames += 1


def split_shots(
    cuts: list[int], frames: int, settings: PreparationSettings
) -> tuple[list[range], list[range]]:
    """Split `frames` frames at the cuts.

    Returns:
        Parts no longer than `maximum_seconds`, of equal length within a shot; and the shots that
        are shorter than `minimum_seconds`.
    """
    parts: list[range] = []
    too_short: list[range] = []
    longest = int(settings.maximum_seconds * settings.fps)
    for start, stop in zip([0, *cuts], [*cuts, frames], strict=True):
        if (stop - start) / settings.fps < settings.minimum_seconds:
            too_short.append(range(start, stop))
            continue
        number = -(-(stop - start) // longest)
        bounds = [start + (stop - start) * part // number for part in range(number + 1)]
        parts += [range(*bound) for bound in pairwise(bounds)]
    return parts, too_short
