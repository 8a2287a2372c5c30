"""A portrait for SVP, encoded once for all that it says.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .call_svp import CallSettings
from .head_pictures_svp import HeadPictures
from .head_svp import Head


@dataclass(frozen=True)
class EncodedPortrait:
    """A portrait as the networks see it.

    head: where it is, and what the head guider is shown of it
    latents: (1, channels, height, width)
    features: of the reference UNet, each (1, tokens, dim)
    image_tokens: of the image encoder, (1, 1, dim), if there is one
    """

    head: Head
    latents: torch.Tensor
    features: dict[str, torch.Tensor]
    image_tokens: torch.Tensor | None


class PortraitMixin:
    """Encodes portraits, for a pipeline that has what is named here."""

    config: Any
    find_heads: Callable[..., tuple[list[Image.Image], list[Head]]]
    encode_image: Callable[..., torch.Tensor]
    check_portrait: Callable[..., None]
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
            portraits, head_keypoints, portrait_keypoints, find_face, height, width
        )
        encoded = []
        for portrait, head in zip(portraits, heads, strict=True):
            latents = self.encode_image(portrait, height, width)
            if self.config.min_portrait_psnr:
                self.check_portrait(portrait, latents, height, width)
            tokens = self.encode_image_prompt(portrait)
            encoded.append(EncodedPortrait(head, *self.encode_reference(latents, tokens), tokens))
        return encoded
