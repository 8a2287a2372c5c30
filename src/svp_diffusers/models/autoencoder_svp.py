"""The VAE of svp-tiny: diffusers' `AutoencoderKL` on pixels folded into channels.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

from diffusers import AutoencoderKL, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

__all__ = ["ModelMixin", "SpaceToDepthAutoencoderKL"]  # diffusers looks for `ModelMixin` there


class SpaceToDepthAutoencoderKL(AutoencoderKL):
    """`AutoencoderKL` that sees each `patch_size` x `patch_size` square of pixels as one position.

    The first and last levels of a plain one, at full resolution, are most of its cost and do little
    for flat drawings: this trains more than ten times faster on a CPU (our choice). From outside
    nothing differs: pixels (n, in_channels, H, W) in [-1, 1], latents (n, latent_channels, H / s,
    W / s) with s = patch_size * 2 ** (len(block_out_channels) - 1); slicing and tiling work.

    Args:
        patch_size: side of the square; height and width must be multiples of s.
        in_channels: of the pictures, before they are folded.
        out_channels: of the decoded pictures, after they are unfolded.

    All other arguments are those of `AutoencoderKL`.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",) * 3,
        up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",) * 3,
        block_out_channels: tuple[int, ...] = (32, 64, 128),
        layers_per_block: int = 1,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 16,
        sample_size: int = 128,
        scaling_factor: float = 0.18215,
        shift_factor: float | None = None,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
        force_upcast: bool = False,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
        mid_block_add_attention: bool = False,
        patch_size: int = 2,
    ) -> None:
        super().__init__(
            in_channels=in_channels * patch_size**2,
            out_channels=out_channels * patch_size**2,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            act_fn=act_fn,
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
            sample_size=sample_size,
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
            latents_mean=latents_mean,
            latents_std=latents_std,
            force_upcast=force_upcast,
            use_quant_conv=use_quant_conv,
            use_post_quant_conv=use_post_quant_conv,
            mid_block_add_attention=mid_block_add_attention,
        )
        # The parent has registered its own, folded channels.
        self.register_to_config(in_channels=in_channels, out_channels=out_channels)
        encoder, decoder = self.get_submodule("encoder"), self.get_submodule("decoder")
        self.encoder = nn.Sequential(nn.PixelUnshuffle(patch_size), encoder)
        self.decoder = nn.Sequential(decoder, nn.PixelShuffle(patch_size))
        self.tile_latent_min_size //= patch_size
