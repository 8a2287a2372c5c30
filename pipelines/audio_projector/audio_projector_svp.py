"""The audio projectors: a window of speech embeddings to the audio tokens of one frame.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from torch import nn
from torch.nn import functional as F

# diffusers looks for `ModelMixin` beside a component.
__all__ = ["AudioProjector", "AudioTokenMLP", "ModelMixin", "StateTokens"]


class AudioProjector(ModelMixin, ConfigMixin):
    """Maps a window of speech embeddings to audio tokens (paper, 3.2; a perceiver resampler).

    Position embeddings, then diffusers' `IPAdapterPlusImageProjection`.

    Args:
        embed_dim: size of a speech embedding (wav2vec 2.0 base: 768).
        output_dim: size of an audio token, the UNet's `cross_attention_dim`.
        hidden_dim: inner size.
        depth: number of perceiver layers.
        dim_head: size of an attention head.
        heads: number of attention heads.
        num_queries: audio tokens a frame.
        num_pad_frames: frames seen on either side of the one spoken (p in the reference design).
    """

    @register_to_config
    def __init__(
        self,
        embed_dim: int = 768,
        output_dim: int = 768,
        hidden_dim: int = 768,
        depth: int = 4,
        dim_head: int = 64,
        heads: int = 12,
        num_queries: int = 5,
        num_pad_frames: int = 2,
    ) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(2 * (2 * num_pad_frames + 1), embed_dim)
        self.resampler = IPAdapterPlusImageProjection(
            embed_dims=embed_dim,
            output_dims=output_dim,
            hidden_dims=hidden_dim,
            depth=depth,
            dim_head=dim_head,
            heads=heads,
            num_queries=num_queries,
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Project one window a frame.

        Args:
            windows: (batch * frames, 2 * (2 * num_pad_frames + 1), embed_dim).

        Returns:
            Audio tokens (batch * frames, num_queries, output_dim).
        """
        # Called, and not its weight read: offloading loads the weights of what is called.
        positions = self.position_embedding(torch.arange(windows.shape[1], device=windows.device))
        tokens: torch.Tensor = self.resampler(windows + positions)
        return tokens


class AudioTokenMLP(ModelMixin, ConfigMixin):
    """Maps a window of speech embeddings to audio tokens by three linear layers, as Hallo does.

    Args:
        input_dim: numbers of a window.
        hidden_dim: inner size.
        output_dim: size of an audio token.
        num_tokens: audio tokens a frame.
    """

    @register_to_config
    def __init__(
        self,
        input_dim: int = 5 * 12 * 768,
        hidden_dim: int = 512,
        output_dim: int = 768,
        num_tokens: int = 32,
    ) -> None:
        super().__init__()
        self.proj1 = nn.Linear(input_dim, hidden_dim)
        self.proj2 = nn.Linear(hidden_dim, hidden_dim)
        self.proj3 = nn.Linear(hidden_dim, num_tokens * output_dim)
        self.norm = nn.LayerNorm(output_dim)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Project one window a frame.

        Args:
            windows: (batch * frames, ...), in all `input_dim` numbers a frame.

        Returns:
            Audio tokens (batch * frames, num_tokens, output_dim).
        """
        hidden = F.relu(self.proj1(windows.flatten(1)))
        hidden = F.relu(self.proj2(hidden))
        tokens = self.proj3(hidden).unflatten(1, (self.config.num_tokens, -1))
        normed: torch.Tensor = self.norm(tokens)
        return normed


class StateTokens(ModelMixin, ConfigMixin):
    """Takes the states of a window as audio tokens, as EchoMimic and LatentSync do.

    Args:
        num_states: states a moment, those of the layers of the speech encoder; each has a gain,
            one until it is trained.
    """

    @register_to_config
    def __init__(self, num_states: int = 5) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.ones(num_states))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Line up the states of one window a frame.

        Args:
            windows: (batch * frames, moments, num_states, dim).

        Returns:
            Audio tokens (batch * frames, moments * num_states, dim).
        """
        return (windows * self.gains[:, None]).flatten(1, 2)
