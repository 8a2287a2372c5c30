"""Speech encoders whose hidden states reach the UNet frame by frame.

Where a wav2vec 2.0-like model's last states are resampled to the frames of the video, these cut the
states of all layers into windows themselves, as the nets that listen to them were trained. This
file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

import math
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

# diffusers looks for `ModelMixin` beside a component.
__all__ = ["ModelMixin", "Wav2Vec2States", "WhisperStates"]

SAMPLING_RATE = 16000

MEL_FRAMES_PER_SECOND = 100  # of Whisper's spectrogram; its encoder halves them


class WhisperStates(ModelMixin, ConfigMixin):
    """The states of all layers of Whisper's encoder around each frame.

    What enters the first layer and what leaves each, all before the encoder's last norm. (The front
    end of MuseTalk, EchoMimic and LatentSync, in Whisper's tiny size.)

    Args:
        num_mel_bins: bands of the spectrogram.
        d_model: size of a state.
        encoder_layers: number of layers.
        encoder_attention_heads: heads of their attention.
        max_source_positions: states of a piece of the recording, which is encoded by itself.
        states_before: states seen before a frame's own.
        states_after: states seen after it, its own included.
    """

    @register_to_config
    def __init__(
        self,
        num_mel_bins: int = 80,
        d_model: int = 384,
        encoder_layers: int = 4,
        encoder_attention_heads: int = 6,
        max_source_positions: int = 1500,
        states_before: int = 4,
        states_after: int = 6,
    ) -> None:
        super().__init__()
        self.encoder = WhisperEncoder(
            WhisperConfig(
                num_mel_bins=num_mel_bins,
                d_model=d_model,
                encoder_layers=encoder_layers,
                encoder_attention_heads=encoder_attention_heads,
                encoder_ffn_dim=4 * d_model,
                max_source_positions=max_source_positions,
            )
        )
        self.encoder.layer_norm = nn.Identity()

    def encode(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Encode a recording of any length, piece by piece.

        Args:
            log_mel: (1, num_mel_bins, mel frames), of the whole recording, not padded.

        Returns:
            States (mel frames // 2, encoder_layers + 1, d_model), 50 a second.
        """
        states = []
        for piece in log_mel.split(2 * self.config.max_source_positions, dim=-1):
            # The padding is zero in the logarithm, where silence is lower.
            padded = F.pad(piece, (0, 2 * self.config.max_source_positions - piece.shape[-1]))
            hidden = F.gelu(self.encoder.conv1(padded))
            hidden = F.gelu(self.encoder.conv2(hidden)).transpose(1, 2)
            hidden = hidden + self.encoder.embed_positions.weight
            layers = [hidden]
            for layer in self.encoder.layers:
                layers.append(layer(layers[-1], None))
            states.append(torch.stack(layers, dim=2)[0, : piece.shape[-1] // 2])
        return torch.cat(states)

    def forward(self, features: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        """Encode a recording and give each frame of its video the states around it.

        Args:
            features: (1, num_mel_bins, mel frames), of the feature extractor, not padded.
            num_frames: frames of the video.
            fps: its frames a second.

        Returns:
            Windows (num_frames, states_before + states_after, encoder_layers + 1, d_model); beyond
            the ends of the recording the first and the last state are repeated.
        """
        states = self.encode(features)
        frames = torch.arange(num_frames, device=states.device)
        centres = (frames * (MEL_FRAMES_PER_SECOND // 2) / fps).long()
        around = torch.arange(
            -self.config.states_before, self.config.states_after, device=states.device
        )
        return states[(centres[:, None] + around).clamp(0, len(states) - 1)]


class Wav2Vec2States(ModelMixin, ConfigMixin):
    """The states of all layers of wav2vec 2.0 in the frames around each.

    The features of its convolutions are resampled to the frames of the video, and the transformer
    reads these. (The front end of Hallo.)

    Args:
        encoder_config: of `transformers.Wav2Vec2Model`, what differs from its defaults.
        clip_length: silence is added up to a multiple of so many frames.
        frames_around: frames seen on either side.
        max_frames: frames that the transformer reads at once. (Hallo2's 60 seconds.)
    """

    @register_to_config
    def __init__(
        self,
        encoder_config: dict[str, Any] | None = None,
        clip_length: int = 16,
        frames_around: int = 2,
        max_frames: int = 1500,
    ) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Model(Wav2Vec2Config(**(encoder_config or {})))

    def extract(self, features: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        """Extract the features of the convolutions, one a frame, of the recording and the silence.

        Args:
            features: (1, samples), of the feature extractor.
            num_frames: frames of the video.
            fps: its frames a second.

        Returns:
            (1, at least num_frames, channels).
        """
        heard = math.ceil(features.shape[1] / SAMPLING_RATE * fps)
        clip_length = self.config.clip_length
        total = math.ceil(max(heard, num_frames) / clip_length) * clip_length
        silence = (total - heard) * int(SAMPLING_RATE // fps)
        padded = F.pad(features, (0, silence))
        extracted = self.encoder.feature_extractor(padded)
        resampled = F.interpolate(extracted, size=total, mode="linear", align_corners=True)
        return resampled.transpose(1, 2)

    def encode(self, extracted: torch.Tensor) -> torch.Tensor:
        """Read features (1, frames, channels) of `extract`.

        Returns:
            States (frames, num_hidden_layers, hidden_size), what leaves each layer.
        """
        transformer, states = self.encoder.encoder, []
        for piece in extracted.split(self.config.max_frames, dim=1):
            hidden, _ = self.encoder.feature_projection(piece)
            hidden = transformer.layer_norm(hidden + transformer.pos_conv_embed(hidden))
            layers = []
            for layer in transformer.layers:
                hidden = layer(hidden)
                layers.append(hidden)
            states.append(torch.stack(layers, dim=2)[0])
        return torch.cat(states)

    def forward(self, features: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        """Encode a recording and give each frame of its video the states around it.

        Args:
            features: (1, samples), of the feature extractor, not padded.
            num_frames: frames of the video.
            fps: its frames a second.

        Returns:
            Windows (num_frames, 2 * frames_around + 1, num_hidden_layers, hidden_size); beyond the
            ends the first and the last state are repeated.
        """
        states = self.encode(self.extract(features, num_frames, fps))
        around = self.config.frames_around
        offsets = torch.arange(-around, around + 1, device=states.device)
        frames = torch.arange(num_frames, device=states.device)[:, None] + offsets
        return states[frames.clamp(0, len(states) - 1)]
