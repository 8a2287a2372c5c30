"""The portrait as a token of the cross-attentions, beside its reference features: AnimateAnyone's.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import ModelMixin
from PIL import Image
from transformers import PreTrainedModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .conditions_svp import Conditions
from .guidance_svp import GuidancePass
from .images_svp import to_tensor


@dataclass(frozen=True)
class PromptedConditions(Conditions):
    """Conditions of a UNet whose cross-attention sees the portrait and, added to it, the audio."""

    can_batch: ClassVar[bool] = False

    image_tokens: torch.Tensor  # (1, 1, dim)

    def give(self, shown: GuidancePass, scales: dict[str, float]) -> dict[str, Any]:
        """What the UNet is given in one pass of guidance: poses stay without the portrait."""
        given = super().give(shown, scales)
        if shown.portrait:
            given["encoder_hidden_states"] = given["encoder_hidden_states"] + self.image_tokens
        return {**given, "head_features": self.head_features}


class ImagePromptMixin:
    """What a pipeline with an `image_encoder` does."""

    unet: ModelMixin
    image_encoder: PreTrainedModel | None
    _execution_device: torch.device

    def encode_image_prompt(self, image: Image.Image) -> torch.Tensor | None:
        """Encode the portrait, resized to the encoder's square, whatever its aspect.

        Args:
            image: of `read_portrait`.

        Returns:
            One token (1, 1, dim), or None without an `image_encoder`.
        """
        if self.image_encoder is None:
            return None
        side = self.image_encoder.config.image_size
        pixels = to_tensor(image.resize((side, side), Image.Resampling.BICUBIC)).float()
        mean, std = (
            torch.tensor(each)[:, None, None] for each in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        )
        pixels = ((pixels - mean) / std)[None]
        pixels = pixels.to(self._execution_device, self.image_encoder.dtype)
        embedding: torch.Tensor = self.image_encoder(pixels).image_embeds
        return embedding[:, None].to(self.unet.dtype)

    def add_image_prompt(
        self, conditions: Conditions, image_tokens: torch.Tensor | None
    ) -> Conditions:
        """Add the token of `encode_image_prompt`, if there is one."""
        if image_tokens is None:
            return conditions
        return PromptedConditions(**vars(conditions), image_tokens=image_tokens)
