"""What the audio front-end is trained for: to tell lips, loudness and spectrum from the sound."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2Model
from transformers.audio_utils import mel_filter_bank

from svp_diffusers.data.clips import SAMPLING_RATE
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.pipelines.sound_svp import AUDIO_RECEPTIVE_FIELD
from svp_diffusers.pipelines.speech_svp import AUDIO_STRIDE
from svp_diffusers.talkers.visemes import LIP_COEFFICIENTS
from svp_diffusers.training.audio.batches import (
    SpeechBatch,
    SpeechClip,
    locate_embeddings,
)
from svp_diffusers.training.loop.loop import Objective

MEL_BANDS = 16
_TARGET_NAMES = (*LIP_COEFFICIENTS, "loudness", *(f"mel{band}" for band in range(MEL_BANDS)))
_FLOOR = 1e-3
"""Power below which a band is silent, that of the whole recording being 1."""


class AudioObjective(Objective):
    """The encoder, and a linear head on its embeddings that is discarded afterwards.

    Each embedding predicts the lips (9 coefficients), the loudness and 16 log-mel bands in its
    receptive field, each brought to mean 0 and variance 1 over the training clips.

    Args:
        encoder: to train.
        clips: of training, for the statistics.
        held_out: of validation.
        sound_weight: of loudness and spectrum in the loss.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        encoder: Wav2Vec2Model,
        clips: Sequence[SpeechClip],
        held_out: Sequence[SpeechClip],
        sound_weight: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.held_out = held_out
        self.sound_weight = sound_weight
        targets = torch.cat([_targets_of(clip) for clip in clips])
        self.register_buffer("target_mean", targets.mean(0))
        self.register_buffer("target_std", targets.std(0))
        self.head = nn.Linear(encoder.config.hidden_size, targets.shape[1])
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: SpeechBatch) -> dict[str, Tensor]:
        """Mean squared errors: of `lips`, `loudness`, `spectrum`, and the weighted `loss`."""
        predicted = self.head(self.encoder(batch.waveform).last_hidden_state)
        targets = torch.cat(
            [batch.lips, batch.loudness[..., None], measure_spectrum(batch.waveform)], -1
        )
        errors = F.mse_loss(
            predicted.float(), (targets - self.target_mean) / self.target_std, reduction="none"
        ).mean((0, 1))
        lips, loudness, spectrum = errors.split((len(LIP_COEFFICIENTS), 1, MEL_BANDS))
        sound = loudness.mean() + spectrum.mean()
        return {
            "loss": lips.mean() + self.sound_weight * sound,
            "lips": lips.mean().detach(),
            "loudness": loudness.mean().detach(),
            "spectrum": spectrum.mean().detach(),
        }

    def validate(self) -> dict[str, float]:
        """Correlations with the truth over all moments of the clips held out.

        Coefficients that never move there are left out: a correlation with them means nothing.
        """
        device = self.target_mean.device
        predicted = [
            self.head(self.encoder(torch.from_numpy(clip.waveform).to(device)[None])[0])[0]
            for clip in self.held_out
        ]
        targets = torch.cat([_targets_of(clip) for clip in self.held_out]).numpy()
        read = torch.cat(predicted).float().cpu().numpy()
        found = {
            name: value
            for name, value in zip(
                _TARGET_NAMES, correlate(read, targets, axis=0).tolist(), strict=True
            )
            if not math.isnan(value)
        }
        metrics = {"jaw": "jawOpen", "pucker": "mouthPucker", "loudness": "loudness"}
        means = {"lips": LIP_COEFFICIENTS, "spectrum": _TARGET_NAMES[-MEL_BANDS:]}
        return {
            **{f"validation_{key}": found[name] for key, name in metrics.items() if name in found},
            **{
                f"validation_{key}": float(
                    np.mean([found[name] for name in names if name in found])
                )
                for key, names in means.items()
            },
        }


def measure_spectrum(waveform: Tensor) -> Tensor:
    """Natural logarithm of 16 mel bands over each receptive field: `(b, n)` to `(b, t, 16)`."""
    heard = waveform.unfold(-1, AUDIO_RECEPTIVE_FIELD, AUDIO_STRIDE)  # (b, t, 400)
    window = torch.hann_window(AUDIO_RECEPTIVE_FIELD, device=waveform.device)
    spectrum = torch.view_as_real(torch.fft.rfft(heard * window))
    power = spectrum.square().sum(-1) / window.square().sum()
    bank = mel_filter_bank(
        AUDIO_RECEPTIVE_FIELD // 2 + 1, MEL_BANDS, 0, SAMPLING_RATE / 2, SAMPLING_RATE
    )
    return (power @ torch.from_numpy(bank).to(power) + _FLOOR).log()


def _targets_of(clip: SpeechClip) -> Tensor:
    """Lips, loudness and spectrum at all embeddings of a whole clip, `(t, 26)`."""
    waveform = torch.from_numpy(clip.waveform)
    lips, loudness = clip.at(locate_embeddings(len(waveform)))
    return torch.cat(
        [
            torch.from_numpy(lips),
            torch.from_numpy(loudness)[:, None],
            measure_spectrum(waveform[None])[0],
        ],
        -1,
    )
