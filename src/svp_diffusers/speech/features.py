"""The audio input of a style encoder: features at 50 per second from a mono 16 kHz waveform.

An encoder's config names its features (`audio_features`), and only those are given to it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from numpy.typing import NDArray
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    FeatureExtractionMixin,
    PreTrainedModel,
)

from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.pipelines.checkpoint_svp import check_place, exists
from svp_diffusers.pipelines.sound_svp import StoredSound, measure_level
from svp_diffusers.pipelines.speech_svp import count_embeddings, encode_speech_pieces

SAMPLING_RATE = 16000
FEATURES_PER_SECOND = 50
LOG_MEL_BANDS = 80

AudioFeatures = Callable[[StoredSound], NDArray[np.float32]]
"""Speech -> features `(t, dim)`, t = 50 a second."""


def load_audio_features(name: str, audio_encoder: str | Path | None = None) -> AudioFeatures:
    """The audio features called `name`, with the speech encoder that they need, if any.

    Args:
        name: see `choose_audio_features`.
        audio_encoder: see `load_speech_encoder`.

    Raises:
        ConfigurationError: an unknown name, or an encoder missing or given where none is used.
        CheckpointError: the encoder cannot be loaded.
    """
    if audio_encoder is None:
        return choose_audio_features(name)
    if name == "log-mel-80":
        raise ConfigurationError("log-mel-80 features use no audio encoder; leave it away")
    return choose_audio_features(name, *load_speech_encoder(audio_encoder))


def choose_audio_features(
    name: str,
    audio_encoder: PreTrainedModel | None = None,
    feature_extractor: FeatureExtractionMixin | None = None,
) -> AudioFeatures:
    """The audio features called `name`.

    Args:
        name: "log-mel-80", which needs no weights, or "wav2vec2": what `encode_speech` gives, as
            the pipeline encodes it.
        audio_encoder: speech encoder of "wav2vec2".
        feature_extractor: that belongs to it.

    Raises:
        ConfigurationError: an unknown name, or an encoder that is missing.
    """
    if name == "log-mel-80":
        return extract_log_mel
    if name != "wav2vec2":
        raise ConfigurationError(f"unknown audio features {name!r}; known: log-mel-80, wav2vec2")
    if audio_encoder is None or feature_extractor is None:
        raise ConfigurationError(
            "this style encoder takes wav2vec2 features: give the audio encoder that it was "
            "trained with (--audio-encoder, or as --model the pipeline that has both)"
        )

    @torch.no_grad()
    def extract(sound: StoredSound) -> NDArray[np.float32]:
        level = measure_level(sound.waveform(SAMPLING_RATE))
        waveform = sound.waveform(SAMPLING_RATE)
        shape = (count_embeddings(level.num_samples), audio_encoder.config.hidden_size)
        features, start = np.empty(shape, np.float32), 0
        for part in encode_speech_pieces(waveform, level, audio_encoder, feature_extractor):
            features[start : start + len(part)] = part.float().cpu().numpy()
            start += len(part)
        return features

    return extract


def extract_log_mel(sound: StoredSound) -> NDArray[np.float32]:
    """Natural logarithm of an 80-band mel spectrogram, 25 ms windows every 20 ms: `(t, 80)`."""
    import librosa

    waveform = np.concatenate(list(sound.waveform(SAMPLING_RATE)))
    mel = librosa.feature.melspectrogram(
        y=waveform,
        sr=SAMPLING_RATE,
        n_fft=512,
        win_length=400,
        hop_length=SAMPLING_RATE // FEATURES_PER_SECOND,
        n_mels=LOG_MEL_BANDS,
    )
    features: NDArray[np.float32] = np.log(mel + 1e-5).T.astype(np.float32)
    return features[: max(1, round(len(waveform) * FEATURES_PER_SECOND / SAMPLING_RATE))]


def load_speech_encoder(source: str | Path) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """Load a speech encoder, in float32, and its feature extractor.

    Args:
        source: folder or Hub id of a transformers speech encoder with its
            `preprocessor_config.json`, or of a pipeline that has one; or the folder `audio_encoder`
            of such a pipeline.

    Raises:
        CheckpointError: if it cannot be loaded.
    """
    try:
        check_place(source)
        folder = Path(source) if exists(source) else _download(str(source))
        extractor = folder
        if (folder / "audio_encoder").is_dir():
            folder, extractor = folder / "audio_encoder", folder / "feature_extractor"
        elif folder.name == "audio_encoder" and (folder.parent / "feature_extractor").is_dir():
            extractor = folder.parent / "feature_extractor"
        return (
            AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
            AutoFeatureExtractor.from_pretrained(extractor),
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source} is no speech encoder: {reason}") from error


def _download(repository: str) -> Path:
    """Download a speech encoder or those of a pipeline: asked once, where a model would be asked
    for each file, and again and again where there is no network."""
    folders = ("audio_encoder", "feature_extractor")
    folder = Path(snapshot_download(repository, allow_patterns=["config.json", f"{folders[0]}/*"]))
    patterns = [f"{each}/*" for each in folders]
    if not (folder / folders[0]).is_dir():
        patterns = ["*config.json", "*.safetensors", "*.safetensors.index.json"]
    folder = Path(snapshot_download(repository, allow_patterns=patterns))
    if not any(folder.rglob("*.safetensors")):  # older ones have pickles alone
        snapshot_download(repository, allow_patterns=["pytorch_model*.bin*"])
    return folder
