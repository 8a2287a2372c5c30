"""What a style encoder hears: audio features at 50 per second from a mono 16 kHz waveform.

An encoder's config names its features (`audio_features`), and only those are given to it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.errors import CheckpointError, ConfigurationError

SAMPLING_RATE = 16000
FEATURES_PER_SECOND = 50
LOG_MEL_BANDS = 80
# Self-attention of a speech encoder costs the square of the length.
CHUNK_SECONDS = 30

AudioFeatures = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A waveform `(n,)` -> features `(t, dim)`, t = 50 a second."""


def load_audio_features(name: str, audio_encoder: str | Path | None = None) -> AudioFeatures:
    """The feature extractor called `name`.

    Args:
        name: "log-mel-80", which needs no weights, or "wav2vec2": the last hidden states of a
            transformers speech encoder, linearly resampled to 50 a second as the pipeline does.
        audio_encoder: folder or Hub id of that encoder with its `preprocessor_config.json`, or
            folder of a pipeline that has one.

    Raises:
        ConfigurationError: an unknown name, or an encoder missing or given where none is used.
        CheckpointError: the encoder cannot be loaded.
    """
    if name == "log-mel-80":
        if audio_encoder is not None:
            raise ConfigurationError("log-mel-80 features use no audio encoder; leave it away")
        return extract_log_mel
    if name != "wav2vec2":
        raise ConfigurationError(f"unknown audio features {name!r}; known: log-mel-80, wav2vec2")
    if audio_encoder is None:
        raise ConfigurationError(
            "this style encoder hears wav2vec2 features: give the audio encoder that it was "
            "trained with (--audio-encoder FOLDER; the audio_encoder folder of its pipeline)"
        )
    return _load_speech_encoder(audio_encoder)


def extract_log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithm of an 80-band mel spectrogram, 25 ms windows every 20 ms: `(t, 80)`."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=waveform,
        sr=SAMPLING_RATE,
        n_fft=512,
        win_length=400,
        hop_length=SAMPLING_RATE // FEATURES_PER_SECOND,
        n_mels=LOG_MEL_BANDS,
    )
    features: NDArray[np.float32] = np.log(mel + 1e-5).T.astype(np.float32)
    return features[: _number_of_features(waveform)]


def _load_speech_encoder(folder: str | Path) -> AudioFeatures:
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    is_pipeline = (Path(folder) / "audio_encoder").is_dir()
    model_folder, extractor_folder = (
        ("audio_encoder", "feature_extractor") if is_pipeline else ("", "")
    )
    try:
        model = AutoModel.from_pretrained(str(folder), subfolder=model_folder).eval()
        extractor = AutoFeatureExtractor.from_pretrained(str(folder), subfolder=extractor_folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is no speech encoder: {error}") from error

    @torch.no_grad()
    def extract(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        size = CHUNK_SECONDS * SAMPLING_RATE
        pieces = []
        for chunk in np.array_split(waveform, max(1, -(-len(waveform) // size))):
            values = extractor(chunk, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_values
            hidden = model(values).last_hidden_state.transpose(1, 2)
            hidden = torch.nn.functional.interpolate(
                hidden, size=_number_of_features(chunk), mode="linear"
            )
            pieces.append(hidden[0].T.numpy())
        return np.concatenate(pieces)

    return extract


def _number_of_features(waveform: NDArray[np.float32]) -> int:
    return max(1, round(len(waveform) * FEATURES_PER_SECOND / SAMPLING_RATE))
