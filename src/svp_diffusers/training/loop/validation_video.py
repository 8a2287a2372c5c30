"""What a validation shows: a clip held out, beside the one that the weights of the moment make."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from svp_diffusers.media.audio import Recording
from svp_diffusers.media.video import write_video

STRIP_FRAMES = 8


@dataclass(frozen=True)
class ValidationVideo:
    """A true clip and a sampled one, side by side.

    frames: (frames, height, 2 * width, 3) uint8 RGB, the truth at the left
    recording: of the true clip, as long as the frames
    """

    frames: NDArray[np.uint8]
    fps: Fraction
    recording: Recording

    def write(self, path: Path) -> None:
        """Write an MP4 with sound and mark, whole or not at all; raises as `write_video`."""
        write_video(path, self.frames, self.fps, self.recording)

    def log(self, accelerator: Accelerator, step: int) -> None:
        """Hand the strip to the run's tracker, if it has one."""
        for tracker in accelerator.trackers:
            # TensorBoard needs the position of the channels; W&B has no such option.
            options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"validation_clip": self.make_strip()[None]}, step, **options)

    def make_strip(self) -> NDArray[np.uint8]:
        """Eight moments from left to right, truth above sample: (2 * height, 8 * width, 3)."""
        moments = np.linspace(0, len(self.frames) - 1, STRIP_FRAMES).round().astype(int)
        height, width = self.frames.shape[1], self.frames.shape[2] // 2
        shown = self.frames[moments].reshape(STRIP_FRAMES, height, 2, width, 3)
        return shown.transpose(2, 1, 0, 3, 4).reshape(2 * height, STRIP_FRAMES * width, 3)
