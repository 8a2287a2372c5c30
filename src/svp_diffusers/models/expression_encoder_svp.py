"""Reads the expression of a face from a picture, or from the latents of one.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

__all__ = ["ExpressionEncoder", "ModelMixin"]  # diffusers looks for `ModelMixin` there

POOLED = 4  # positions in height and in width that are kept at the end


class ExpressionEncoder(ModelMixin, ConfigMixin):
    """A small convolutional net from pictures to expression coefficients (our choice).

    Args:
        in_channels: 3 for pictures, the VAE's `latent_channels` for latents.
        coefficient_names: what it reads, in the order of its output.
        expression_space: the space in which those names are.
        block_out_channels: channels of the blocks, each of which halves height and width; multiples
            of 8.
        hidden_dim: size of the features before the last layer.
        patch_size: side of the squares of pixels that are folded into channels first, which is
            cheaper than convolutions at full size.
        with_reference: whether a second picture of the same person is given, from which the
            expression stands out: people whom training has not seen are read better.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int,
        coefficient_names: tuple[str, ...],
        expression_space: str = "arkit52",
        block_out_channels: tuple[int, ...] = (16, 32, 64, 96),
        hidden_dim: int = 192,
        patch_size: int = 1,
        with_reference: bool = False,
    ) -> None:
        super().__init__()
        in_channels *= 1 + with_reference
        self.conv_in = nn.Sequential(
            nn.PixelUnshuffle(patch_size),
            nn.Conv2d(in_channels * patch_size**2, block_out_channels[0], 3, padding=1),
        )
        blocks = []
        channels = block_out_channels[0]
        for out_channels in block_out_channels:
            blocks.append(DownBlock(channels, out_channels))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(POOLED),
            nn.Flatten(),
            nn.Linear(channels * POOLED**2, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, len(coefficient_names)),
        )

    def forward(self, sample: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
        """Read each picture by itself, or beside its reference.

        Args:
            sample: pictures (n, 3, H, W) in [-1, 1], or latents (n, c, h, w) scaled as the UNet
                sees them, of about the size that was trained on.
            reference: as `sample`, of the same person, for an encoder `with_reference`.

        Returns:
            Coefficients (n, len(coefficient_names)); trained towards 0..1, not limited to it.

        Raises:
            ValueError: a reference is missing, or is given to an encoder without.
        """
        if (reference is not None) != self.config.with_reference:
            needs = "needs a" if self.config.with_reference else "takes no"
            raise ValueError(f"this expression encoder {needs} reference")
        if reference is not None:
            sample = torch.cat([sample - reference, reference], dim=1)
        coefficients: torch.Tensor = self.head(self.blocks(self.conv_in(sample)))
        return coefficients


class DownBlock(nn.Module):
    """A convolution that halves height and width, and a residual one."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.GroupNorm(8, in_channels),
            nn.SiLU(),
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1),
        )
        self.residual = nn.Sequential(
            nn.GroupNorm(8, out_channels),
            nn.SiLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Features (n, in_channels, h, w) to (n, out_channels, h / 2, w / 2)."""
        hidden = self.down(hidden)
        return hidden + self.residual(hidden)
