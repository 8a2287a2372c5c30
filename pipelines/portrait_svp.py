"""A portrait for SVP, encoded once for all that it says.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging
from diffusers.video_processor import VideoProcessor
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from .call_svp import CallSettings
from .detail_svp import PortraitDetail, measure_detail
from .head_pictures_svp import DrawnKeypoints, HeadPictures
from .head_svp import Head
from .images_svp import Portrait

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class EncodedPortrait:
    """A portrait as the networks see it.

    head: where it is, and what the head guider is shown of it
    latents: (1, channels, height, width)
    features: of the reference UNet, each (1, tokens, dim)
    image_tokens: of the image encoder, (1, 1, dim), if there is one
    detail: what the VAE loses of it, if frames are to have it
    """

    head: Head
    latents: torch.Tensor
    features: dict[str, torch.Tensor]
    image_tokens: torch.Tensor | None
    detail: PortraitDetail | None


class PortraitMixin:
    """Encodes portraits, for a pipeline that has what is named here."""

    config: Any
    video_processor: VideoProcessor
    find_heads: Callable[..., tuple[list[Image.Image], list[Head]]]
    prepare_image: Callable[..., torch.Tensor]
    encode_image: Callable[..., torch.Tensor]
    decode_latents: Callable[..., Iterator[torch.Tensor]]
    encode_image_prompt: Callable[..., torch.Tensor | None]
    encode_reference: Callable[..., tuple[torch.Tensor, dict[str, torch.Tensor]]]

    def encode_portraits(
        self,
        portraits: list[Image.Image],
        head_keypoints: HeadPictures | None,
        portrait_keypoints: Sequence[NDArray[np.floating]] | None,
        find_face: bool,
        settings: CallSettings,
    ) -> list[EncodedPortrait]:
        """Find the head of each portrait, and encode what is left of the portrait.

        Args:
            portraits: of `read_portrait`.
            head_keypoints: as in `__call__`.
            portrait_keypoints: as in `__call__`, one array a portrait.
            find_face: as in `__call__`.
            settings: of the call.

        Raises:
            ValueError: if a face is looked for and not found.
        """
        height, width = settings.height, settings.width
        portraits, heads = self.find_heads(
            *(portraits, head_keypoints, portrait_keypoints, find_face, height, width),
            settings.detail_scale,
        )
        encoded = []
        for portrait, head in zip(portraits, heads, strict=True):
            latents = self.encode_image(portrait, height, width)
            detail = None
            if self.config.min_portrait_psnr or settings.detail_scale:
                reconstruction = self.reconstruct_portrait(latents)
                self.check_portrait(portrait, reconstruction)
                if settings.detail_scale:
                    detail = self.find_detail(portrait, reconstruction, head, settings.detail_scale)
            tokens = self.encode_image_prompt(portrait)
            encoded.append(
                EncodedPortrait(head, *self.encode_reference(latents, tokens), tokens, detail)
            )
        return encoded

    def reconstruct_portrait(self, latents: torch.Tensor) -> torch.Tensor:
        """What the VAE gives back of a portrait: pixels (3, height, width) in [0, 1], float32.

        Args:
            latents: of `encode_image`.
        """
        given_back = next(self.decode_latents(latents.transpose(0, 1)))
        return given_back[0].float().clamp(0, 1)

    def measure_portrait(self, image: Portrait, reconstruction: torch.Tensor) -> float:
        """PSNR of the VAE's reconstruction of the portrait, a test of whether it is in the domain.

        Args:
            image: as `prepare_image` takes it.
            reconstruction: of `reconstruct_portrait`.

        Returns:
            Peak signal-to-noise ratio in decibels.
        """
        pixels = self._show_portrait(image, *reconstruction.shape[1:])
        error = F.mse_loss(reconstruction, pixels)
        return float(-10 * torch.log10(error))

    def check_portrait(self, image: Portrait, reconstruction: torch.Tensor) -> None:
        """Warn of a portrait unlike those of the training; the arguments of `measure_portrait`."""
        measured = self.measure_portrait(image, reconstruction)
        if measured < self.config.min_portrait_psnr:
            logger.warning(
                f"This portrait is unlike those that the checkpoint was trained on: its VAE gives "
                f"it back at {measured:.1f} dB, below {self.config.min_portrait_psnr:g} dB. The "
                "video will not look like the portrait. Use a picture of the kind that the "
                "checkpoint's card names, or a checkpoint trained on such pictures."
            )

    def find_detail(
        self, image: Portrait, reconstruction: torch.Tensor, head: Head, scale: int
    ) -> PortraitDetail:
        """What the VAE loses of a portrait.

        Args:
            image: as `prepare_image` takes it, large enough for the scale.
            reconstruction: of `reconstruct_portrait`, (3, height, width).
            head: in the portrait.
            scale: how many times as large as the reconstruction frames are going to be.
        """
        height, width = (scale * side for side in reconstruction.shape[1:])
        points = head.keypoints
        if isinstance(head.pictures, DrawnKeypoints):  # the first of which is the portrait's
            points = head.pictures.keypoints[0]
        known = None if points is None or len(points) != 8 else torch.as_tensor(points).float()
        return measure_detail(self._show_portrait(image, height, width), reconstruction, known)

    def _show_portrait(self, image: Portrait, height: int, width: int) -> torch.Tensor:
        """Pixels (3, height, width) in [0, 1], float32."""
        pixels = self.prepare_image(image, height, width)
        return self.video_processor.denormalize(pixels)[0].float()
