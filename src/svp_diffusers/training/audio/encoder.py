"""A small speech encoder that the pipeline takes in place of wav2vec 2.0 (our choice).

It is a transformers `Wav2Vec2Model`, so it is loaded and run as the large one is: 16 kHz in, 50
embeddings a second out. Its first convolution starts as a bank of windowed sinusoids, mel-spaced,
four phases of each: what follows sees a spectrum from the first step on.
"""

import math

import torch
from librosa import mel_frequencies
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from svp_diffusers.data.clips import SAMPLING_RATE
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration

CONV_KERNEL = (240, 2, 1)
CONV_STRIDE = (160, 2, 1)
"""Windows of 15 ms every 10 ms, then pairs of them: an embedding covers 400 samples, and the next
one starts 320 later, as in wav2vec 2.0."""

_PHASES = 4
_LOWEST, _HIGHEST = 60.0, 7600.0  # Hz


def build_audio_encoder(configuration: AudioTrainingConfiguration) -> Wav2Vec2Model:
    """A new encoder; the weights follow from `configuration.seed`."""
    channels = configuration.conv_channels
    config = Wav2Vec2Config(
        conv_dim=(_PHASES * configuration.num_bands, channels, channels),
        conv_kernel=CONV_KERNEL,
        conv_stride=CONV_STRIDE,
        conv_bias=True,
        feat_extract_norm="layer",
        hidden_size=configuration.hidden_size,
        num_hidden_layers=configuration.num_hidden_layers,
        num_attention_heads=configuration.num_attention_heads,
        intermediate_size=configuration.intermediate_size,
        num_conv_pos_embeddings=configuration.num_conv_pos_embeddings,
        num_conv_pos_embedding_groups=4,
        # Nothing is hidden from it: it is small, and its targets are known for every moment.
        apply_spec_augment=False,
        mask_time_prob=0.0,
        layerdrop=0.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        encoder = Wav2Vec2Model(config)
    first = encoder.feature_extractor.conv_layers[0].conv
    with torch.no_grad():
        first.weight.copy_(make_filter_bank(configuration.num_bands, CONV_KERNEL[0]))
    return encoder


def build_feature_extractor() -> Wav2Vec2FeatureExtractor:
    """What goes before the encoder: it brings a recording to mean 0 and variance 1."""
    return Wav2Vec2FeatureExtractor(do_normalize=True)


def make_filter_bank(num_bands: int, length: int) -> torch.Tensor:
    """Sinusoids under a Hann window, `(4 num_bands, 1, length)`: four phases of each mel band.

    Higher bands are louder, as speech is weaker there.
    """
    frequencies = torch.from_numpy(mel_frequencies(num_bands, fmin=_LOWEST, fmax=_HIGHEST))
    times = (torch.arange(length) - (length - 1) / 2) / SAMPLING_RATE
    phases = torch.arange(_PHASES) * (2 * math.pi / _PHASES)
    angles = 2 * math.pi * frequencies[:, None, None] * times + phases[:, None]
    filters = torch.hann_window(length, periodic=False) * angles.cos()  # (bands, phases, length)
    filters = filters / filters.square().sum(-1, keepdim=True).sqrt()
    return (filters * (frequencies / 1000).sqrt()[:, None, None]).flatten(0, 1)[:, None].float()
