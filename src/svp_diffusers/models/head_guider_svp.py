"""The head-keypoint guider of SVP: a picture of coloured dots to features of the head's pose.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import nn

__all__ = ["HeadKeypointGuider", "ModelMixin"]  # diffusers looks for `ModelMixin` there


class HeadKeypointGuider(ModelMixin, ConfigMixin):
    """Maps keypoint images to features that are added after the UNet's `conv_in` (paper, 3.2).

    Its layers are diffusers' `ControlNetConditioningEmbedding`; the last one starts at zero. The
    others start with He et al.'s variance (our choice): with PyTorch's own, a few dots on black
    fade to a ten-thousandth on their way through eight layers, and the pose is never learned.

    Args:
        conditioning_embedding_channels: the UNet's `block_out_channels[0]`.
        conditioning_channels: channels of the keypoint image.
        block_out_channels: channels of the convolutions; each after the first halves the size.
        keypoint_layout: what was drawn in training: "head8", the paper's eight points; "v3", the
            three of V-Express; "face", the face's place as a white rectangle, EchoMimic's and
            Hallo's; or "pose", AnimateAnyone's pictures of a pose.
        with_reference: the keypoint image of the reference portrait is put beside that of each
            frame, so that the UNet knows both ends of the movement (our choice).
    """

    @register_to_config
    def __init__(
        self,
        conditioning_embedding_channels: int = 320,
        conditioning_channels: int = 3,
        block_out_channels: tuple[int, ...] = (16, 32, 96, 256),
        keypoint_layout: str = "head8",
        with_reference: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = ControlNetConditioningEmbedding(
            conditioning_embedding_channels,
            conditioning_channels * (2 if with_reference else 1),
            tuple(block_out_channels),
        )
        for layer in (self.embedding.conv_in, *self.embedding.blocks):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(
        self, keypoint_images: torch.Tensor, reference_images: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Encode each frame by itself.

        Args:
            keypoint_images: (batch, conditioning_channels, frames, height, width) in [0, 1].
            reference_images: of the reference portrait, (batch, conditioning_channels, 1, height,
                width) in [0, 1]; of `with_reference` only, and needed there.

        Returns:
            Features (batch, conditioning_embedding_channels, frames, height / 8, width / 8).

        Raises:
            ValueError: if `reference_images` are missing, or are given in vain.
        """
        if self.config.with_reference != (reference_images is not None):
            state = "takes" if self.config.with_reference else "does not take"
            raise ValueError(f"This head guider {state} keypoint images of the reference.")
        if reference_images is not None:
            beside = reference_images.expand(-1, -1, keypoint_images.shape[2], -1, -1)
            keypoint_images = torch.cat([keypoint_images, beside], dim=1)
        frames = keypoint_images.transpose(1, 2)  # (batch, frames, 3, height, width)
        features: torch.Tensor = self.embedding(frames.flatten(0, 1))
        return features.unflatten(0, frames.shape[:2]).transpose(1, 2)
