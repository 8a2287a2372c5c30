"""Speech for SVP: from a recording to embeddings, and to the window of them that a frame sees.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import importlib.util
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin
from torch.nn import functional as F
from transformers import FeatureExtractionMixin, PreTrainedModel

AUDIO_STRIDE = 320  # samples of an embedding; all wav2vec 2.0-like encoders give 50 Hz at 16 kHz
AUDIO_RECEPTIVE_FIELD = 400  # samples that the first embedding needs
AUDIO_CHUNK_SECONDS = 30  # of speech encoded at once, so that memory does not grow with its square
AUDIO_CONTEXT_SECONDS = 2  # seen by a chunk on either side, then dropped

MOST_CHANNELS = 8  # of a waveform; more are taken for samples in the wrong order

Audio = str | Path | np.ndarray | torch.Tensor
"""Speech: the path of a file, or a waveform (samples,) or (channels, samples) in [-1, 1]."""


def read_audio_file(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a file with soundfile: a waveform (channels, samples), and its sampling rate.

    Raises:
        ValueError: if soundfile is not installed, or cannot read the file.
    """
    if importlib.util.find_spec("soundfile") is None:
        raise ValueError("Reading audio needs soundfile: `pip install librosa` brings it.")
    import soundfile

    try:
        samples, sampling_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"The audio file {path} cannot be read: {error}") from error
    return samples.T, sampling_rate


def prepare_waveform(audio: Audio, sampling_rate: int, target_rate: int = 16000) -> torch.Tensor:
    """Bring speech to what an audio encoder takes.

    Args:
        audio: a waveform (samples,) or (channels, samples) in [-1, 1], whose channels are averaged;
            or the path of a file, which needs soundfile (installed with librosa).
        sampling_rate: of the waveform; a file says its own.
        target_rate: the encoder's. Other rates than that need scipy.

    Returns:
        A waveform (samples,) of the encoder's rate, float32 on the CPU.

    Raises:
        ValueError: if it is no waveform, has non-finite samples, is too short or cannot be
            read, or if scipy or soundfile is needed and not installed.
    """
    if isinstance(audio, (str, Path)):
        audio, sampling_rate = read_audio_file(audio)
    samples = torch.as_tensor(audio, dtype=torch.float32, device="cpu").numpy()
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and len(samples) > MOST_CHANNELS):
        raise ValueError(
            "`audio` must be a waveform (samples,) or (channels, samples), or a list of them; got "
            f"the shape {samples.shape}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("`audio` has samples that are NaN or infinite.")
    if samples.ndim == 2:
        samples = samples.mean(axis=0, dtype=np.float32)
    waveform = torch.from_numpy(resample(samples, sampling_rate, target_rate))
    if len(waveform) < AUDIO_RECEPTIVE_FIELD:
        raise ValueError(
            f"`audio` has {len(waveform)} samples at {target_rate} Hz; at least "
            f"{AUDIO_RECEPTIVE_FIELD} are needed."
        )
    return waveform


def resample(waveform: np.ndarray, sampling_rate: int, target_rate: int) -> np.ndarray:
    """Bring a waveform (samples,) to another rate, by a zero-phase polyphase filter.

    Returns:
        `resampled_length` samples, float32, so the duration stays.

    Raises:
        ValueError: if the rates differ and scipy is not installed.
    """
    if sampling_rate == target_rate:
        return waveform
    if importlib.util.find_spec("scipy") is None:
        raise ValueError(
            f"Resampling audio from {sampling_rate} Hz needs scipy: `pip install scipy`, or pass "
            f"a waveform of {target_rate} Hz."
        )
    from scipy.signal import resample_poly

    ratio = Fraction(target_rate, sampling_rate)
    resampled = resample_poly(waveform, ratio.numerator, ratio.denominator)
    return resampled.astype(np.float32, copy=False)


def resampled_length(num_samples: int, sampling_rate: int, target_rate: int) -> int:
    """Samples of a waveform after `resample`: its duration at the new rate, rounded up."""
    return math.ceil(Fraction(num_samples * target_rate, sampling_rate))


def encode_speech(
    waveform: torch.Tensor,
    audio_encoder: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Encode speech, a long recording in overlapping chunks.

    Every part of the project that reads speech embeddings reads these. The whole recording is
    normalised at once; each chunk of 30 s sees 2 s on either side, which are then dropped. (The
    lengths are our choice.) Gradients flow, unless the caller forbids them.

    Args:
        waveform: (samples,), of `prepare_waveform`.
        audio_encoder: a wav2vec 2.0-like model, of any dtype.
        feature_extractor: normalises the waveform.
        device: to encode on; by default the encoder's. Offloaded encoders need it.

    Returns:
        Embeddings (time, dim) at 50 Hz, of the encoder's dtype.
    """
    rate = feature_extractor.sampling_rate
    extracted = feature_extractor(waveform.cpu().numpy(), sampling_rate=rate, return_tensors="pt")
    values = extracted.input_values.to(device or audio_encoder.device, audio_encoder.dtype)
    per_second = rate // AUDIO_STRIDE
    chunk, context = AUDIO_CHUNK_SECONDS * per_second, AUDIO_CONTEXT_SECONDS * per_second
    total = (values.shape[1] - AUDIO_RECEPTIVE_FIELD) // AUDIO_STRIDE + 1
    embeddings = []
    for start in range(0, total, chunk):  # in embeddings, as all that follows
        stop = min(start + chunk, total)
        first, last = max(0, start - context), min(stop + context, total)
        end_sample = (last - 1) * AUDIO_STRIDE + AUDIO_RECEPTIVE_FIELD
        hidden = audio_encoder(values[:, first * AUDIO_STRIDE : end_sample])
        embeddings.append(hidden.last_hidden_state[0, start - first : stop - first])
    return torch.cat(embeddings)


def encode_windows(
    waveform: torch.Tensor,
    audio_encoder: ModelMixin,
    feature_extractor: FeatureExtractionMixin,
    num_frames: int,
    fps: float | Fraction,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Encode speech with an encoder that cuts the windows of frames itself.

    Args:
        waveform: (samples,), of `prepare_waveform`.
        audio_encoder: `WhisperStates` or `Wav2Vec2States`.
        feature_extractor: theirs.
        num_frames: frames of the video.
        fps: its frames a second.
        device: to encode on; by default the encoder's. Offloaded encoders need it.

    Returns:
        Windows (num_frames, ...), as the audio projector takes them.
    """
    extracted = feature_extractor(
        waveform.cpu().numpy(),
        sampling_rate=feature_extractor.sampling_rate,
        padding="do_not_pad",  # it pads a waveform with silence, which is not zero in a spectrogram
        truncation=False,
        return_tensors="pt",
    )
    features = extracted[feature_extractor.model_input_names[0]]
    features = features.to(device or audio_encoder.device, audio_encoder.dtype)
    windows: torch.Tensor = audio_encoder(features, num_frames, float(fps))
    return windows


def count_frames(num_samples: int, sampling_rate: int, fps: float | Fraction) -> int:
    """Frames of the video of a recording: its duration times `fps`, rounded, at least one."""
    return max(1, round(Fraction(num_samples, sampling_rate) * Fraction(fps)))


def window_audio(embeddings: torch.Tensor, num_frames: int, num_pad_frames: int) -> torch.Tensor:
    """Cut speech embeddings into one window a frame.

    The embeddings are resampled to two a frame and padded with zeros, so that a frame sees the
    `2 * (2 * num_pad_frames + 1)` around it. (The scheme of V-Express, which SVP builds on.)

    Args:
        embeddings: (time, dim), of the whole recording.
        num_frames: frames of the video.
        num_pad_frames: frames seen on either side.

    Returns:
        Windows (num_frames, 2 * (2 * num_pad_frames + 1), dim).
    """
    resampled = F.interpolate(embeddings.T[None], size=2 * num_frames, mode="linear")
    padded = F.pad(resampled, (2 * num_pad_frames, 2 * num_pad_frames))
    windows = padded[0].unfold(1, size=2 * (2 * num_pad_frames + 1), step=2)
    return windows.permute(1, 2, 0)  # from (dim, num_frames, window)
