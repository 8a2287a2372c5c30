"""The reference UNet of SVP: Stable Diffusion 1.5's UNet, read rather than run to its end.

It sees the clean latents of the portrait and returns, for each spatial transformer, the tensor that
enters one of its attentions. This file is self-contained, because a checkpoint on the Hub carries
it beside its weights.
"""

from typing import Any, ClassVar

import torch
from diffusers import ModelMixin, Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

__all__ = ["ModelMixin", "ReferenceUNet"]  # diffusers looks for `ModelMixin` beside a component


class ReferenceTransformerBlock(BasicTransformerBlock):
    """A transformer block that also hands over what enters its cross- or its self-attention."""

    def __init__(
        self,
        name: str,
        dim: int,
        num_attention_heads: int,
        attention_head_dim: int,
        cross_attention_dim: int | None,
        feature: str,
    ) -> None:
        super().__init__(
            dim, num_attention_heads, attention_head_dim, cross_attention_dim=cross_attention_dim
        )
        self.name = name
        self.feature = feature

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Apply the block to (batch, tokens, dim), and call `record` with its name and feature."""
        assert cross_attention_kwargs is not None
        record = cross_attention_kwargs["record"]
        normed = self.norm1(hidden_states)
        if self.feature == "self_attention":
            record(self.name, normed)
        hidden_states = hidden_states + self.attn1(normed)
        if self.attn2 is not None:
            normed = self.norm2(hidden_states)
            if self.feature == "cross_attention":
                record(self.name, normed)
            hidden_states = hidden_states + self.attn2(normed, encoder_hidden_states)
        return hidden_states + self.ff(self.norm3(hidden_states))


class ReferenceUNet(UNet2DConditionModel):
    """Maps the portrait's latents to one feature a spatial transformer (paper, section 3.2).

    The output layers do not exist: nothing would read them.

    Args:
        feature: the attention whose input is handed over: "cross_attention", as SVP and V-Express
            do, or "self_attention", as AnimateAnyone does.
        text_attention: whether there is a cross-attention; EchoMimic has none.
        kwargs: those of `diffusers.UNet2DConditionModel`; `sample_size` and `cross_attention_dim`
            default to Stable Diffusion 1.5's 64 and 768.

    Raises:
        ValueError: if a transformer has more than one layer a block, or there is no such feature.
    """

    def __init__(
        self, *, feature: str = "cross_attention", text_attention: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**{"sample_size": 64, "cross_attention_dim": 768, **kwargs})
        self.register_to_config(feature=feature, text_attention=text_attention)
        known = ("self_attention", "cross_attention") if text_attention else ("self_attention",)
        if feature not in known:
            raise ValueError(f"There is no feature {feature!r} in this net; known: {known}.")
        self.conv_norm_out = None
        self.conv_out = nn.Identity()
        for path, module in list(self.named_modules()):
            if not isinstance(module, Transformer2DModel):
                continue
            if len(module.transformer_blocks) != 1:
                raise ValueError(
                    f"{path} has {len(module.transformer_blocks)} transformer layers, but a "
                    "ReferenceUNet returns one feature, hence has one layer, a block."
                )
            block = module.transformer_blocks[0]
            module.transformer_blocks[0] = ReferenceTransformerBlock(
                name=path,
                dim=block.dim,
                num_attention_heads=block.num_attention_heads,
                attention_head_dim=block.attention_head_dim,
                cross_attention_dim=block.cross_attention_dim if text_attention else None,
                feature=feature,
            )

    _repeated_blocks: ClassVar = ["ReferenceTransformerBlock"]
    _no_split_modules: ClassVar = [*_repeated_blocks, "ResnetBlock2D"]

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """Names of the arguments, by which diffusers tells what of a configuration it may pass."""
        keys: set[str] = UNet2DConditionModel._get_init_keys(input_class)
        if issubclass(input_class, ReferenceUNet):
            keys |= UNet2DConditionModel._get_init_keys(UNet2DConditionModel)
        return keys

    @classmethod
    def from_unet2d(cls, unet: UNet2DConditionModel) -> "ReferenceUNet":
        """Start from Stable Diffusion 1.5's UNet.

        Raises:
            ValueError: if a weight other than those of the output layers has no place here.
        """
        config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        model: ReferenceUNet = cls.from_config(config)
        missing, unexpected = model.load_state_dict(unet.state_dict(), strict=False)
        unknown = missing + [
            key for key in unexpected if not key.startswith(("conv_norm_out.", "conv_out."))
        ]
        if unknown:
            raise ValueError(f"The 2-D UNet does not fit ReferenceUNet; differing keys: {unknown}")
        return model.to(unet.dtype)

    def set_attention_backend(self, backend: str) -> None:
        """Refuse what would do nothing: attention is PyTorch's `scaled_dot_product_attention`.

        Raises:
            ValueError: for another backend than "native".
        """
        if backend != "native":
            raise ValueError(
                f'the attention backend {backend!r} would do nothing: only "native" is used here; '
                "`torch.nn.attention.sdpa_kernel` chooses among PyTorch's kernels."
            )

    def forward(
        self, sample: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Read the portrait, at timestep 0.

        Args:
            sample: clean latents of the portrait (batch, channels, height, width).
            encoder_hidden_states: what the text attention sees (batch, tokens,
                cross_attention_dim); None is no prompt: one token of zeros.

        Returns:
            For each spatial transformer, by its name, a feature (batch, height * width, dim) at the
            resolution of that transformer.
        """
        features: dict[str, torch.Tensor] = {}

        # A function, since offloading hooks copy the containers among the arguments. It takes the
        # first call: gradient checkpointing repeats a block in the backward pass.
        def record(name: str, feature: torch.Tensor) -> None:
            features.setdefault(name, feature)

        prompt = encoder_hidden_states
        if prompt is None:
            prompt = sample.new_zeros(sample.shape[0], 1, self.config.cross_attention_dim)
        super().forward(sample, 0, prompt, cross_attention_kwargs={"record": record})
        return features
