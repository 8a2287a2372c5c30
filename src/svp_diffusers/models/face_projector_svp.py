"""The face projector: what a face-recognition net says of a face to tokens of the cross-attention.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import ImageProjection

__all__ = ["FaceProjector", "ModelMixin"]  # diffusers looks for `ModelMixin` beside a component


class FaceProjector(ModelMixin, ConfigMixin):
    """Maps face embeddings to tokens, as Hallo does.

    Args:
        embed_dim: size of an embedding (ArcFace's: 512).
        output_dim: size of a token, the UNet's `cross_attention_dim`.
        num_tokens: tokens a face.
    """

    @register_to_config
    def __init__(self, embed_dim: int = 512, output_dim: int = 768, num_tokens: int = 4) -> None:
        super().__init__()
        self.projection = ImageProjection(
            image_embed_dim=embed_dim,
            cross_attention_dim=output_dim,
            num_image_text_embeds=num_tokens,
        )

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Project embeddings (batch, embed_dim); zeros stand for no face.

        Returns:
            Tokens (batch, num_tokens, output_dim).
        """
        tokens: torch.Tensor = self.projection(embeddings)
        return tokens
