"""What the SVP pipeline returns.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput

from .detail_svp import VideoDetail


@dataclass
class SVPTalkingHeadPipelineOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        frames: one entry a video: a list of PIL images, an array (frames, height, width, 3) or a
            tensor (frames, 3, height, width) in [0, 1], or latents (channels, frames, height,
            width), by `output_type`. Arrays and tensors of one length are one array or tensor
            (videos, ...); videos that differ in length are in a list.
        styles: one entry a video: the style vector (style_dim,) or vectors (frames, style_dim) that
            it was made with. Passing one as `style` repeats that performance.
        details: one entry a video: of the portrait, for `decode_latents`, where `frames` are
            latents; None where frames are left as they are generated. Not in the tuple of a call.
    """

    frames: list[Any] | np.ndarray | torch.Tensor
    styles: list[torch.Tensor]
    details: list[VideoDetail | None]
