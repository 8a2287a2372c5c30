"""Speech for SVP: from a recording to embeddings, and to the window of them that a frame sees.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from diffusers import ModelMixin
from transformers import FeatureExtractionMixin, PreTrainedModel

from .sound_svp import AUDIO_RECEPTIVE_FIELD, PIECE_SECONDS, Level, measure_level

AUDIO_STRIDE = 320  # samples of an embedding; all wav2vec 2.0-like encoders give 50 Hz at 16 kHz
AUDIO_CHUNK_SECONDS = 30  # of speech encoded at once, so that memory does not grow with its square
AUDIO_CONTEXT_SECONDS = 2  # seen by a chunk on either side, then dropped
PROJECTED_WINDOWS = 256  # of frames, made audio tokens at once


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
    size = PIECE_SECONDS * feature_extractor.sampling_rate
    samples = waveform.cpu().numpy()
    pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
    level = measure_level(pieces)
    chunks = encode_speech_pieces(pieces, level, audio_encoder, feature_extractor, device)
    return torch.cat(list(chunks))


def encode_speech_pieces(
    pieces: Iterable[np.ndarray],
    level: Level,
    audio_encoder: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    device: torch.device | str | None = None,
) -> Iterator[torch.Tensor]:
    """Encode speech as `encode_speech` does, of which no more is held than a chunk needs.

    Args:
        pieces: (samples,), of the whole recording.
        level: its own, of `measure_level`.
        audio_encoder: a wav2vec 2.0-like model, of any dtype.
        feature_extractor: says the sampling rate, and whether the waveform is normalised.
        device: to encode on; by default the encoder's.

    Yields:
        Embeddings (time, dim), 30 s at a time.
    """
    per_second = feature_extractor.sampling_rate // AUDIO_STRIDE
    chunk, context = AUDIO_CHUNK_SECONDS * per_second, AUDIO_CONTEXT_SECONDS * per_second
    total = count_embeddings(level.num_samples)
    pieces = iter(pieces)
    held, offset = np.zeros(0, np.float32), 0  # samples, and the number of the first of them
    for start in range(0, total, chunk):  # in embeddings, as all that follows
        stop = min(start + chunk, total)
        first, last = max(0, start - context), min(stop + context, total)
        end_sample = (last - 1) * AUDIO_STRIDE + AUDIO_RECEPTIVE_FIELD
        held, offset = held[first * AUDIO_STRIDE - offset :], first * AUDIO_STRIDE
        while offset + len(held) < end_sample:
            held = np.concatenate([held, next(pieces)])
        heard = held[: end_sample - offset]
        hidden = encode_waveform(heard, level, audio_encoder, feature_extractor, device)
        yield hidden[start - first : stop - first]


def encode_waveform(
    waveform: np.ndarray,
    level: Level,
    audio_encoder: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Embeddings (time, dim) of a waveform (samples,), normalised by a level, encoded at once.

    Autocast is off: half precision may change embeddings by a quarter.
    """
    if feature_extractor.do_normalize:
        waveform = level.normalise(waveform)
    values = torch.from_numpy(waveform)[None].to(
        device or audio_encoder.device, audio_encoder.dtype
    )
    with torch.autocast(values.device.type, enabled=False):
        hidden: torch.Tensor = audio_encoder(values).last_hidden_state[0]
    return hidden


def count_embeddings(num_samples: int) -> int:
    """Embeddings that an encoder makes of so many samples."""
    return max(0, (num_samples - AUDIO_RECEPTIVE_FIELD) // AUDIO_STRIDE + 1)


def encode_windows(
    waveform: torch.Tensor,
    audio_encoder: ModelMixin,
    feature_extractor: FeatureExtractionMixin,
    num_frames: int,
    fps: float | Fraction,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Encode speech with an encoder that cuts the windows of frames itself; autocast is off.

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
    device = torch.device(device or audio_encoder.device)
    with torch.autocast(device.type, enabled=False):
        extracted = feature_extractor(
            waveform.cpu().numpy(),
            sampling_rate=feature_extractor.sampling_rate,
            padding="do_not_pad",  # it pads with silence, which is not zero in a spectrogram
            truncation=False,
            return_tensors="pt",
        )
        features = extracted[feature_extractor.model_input_names[0]]
        features = features.to(device, audio_encoder.dtype)
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
    hear = partial(pick_embeddings, embeddings)
    spread = Fraction(len(embeddings), 2 * num_frames)
    return window_frames(hear, range(num_frames), num_frames, spread, num_pad_frames)


def pick_embeddings(embeddings: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Embeddings (n, dim) of (time, dim) by their numbers (n,); beyond the ends, the first and the
    last are repeated."""
    return embeddings[index.clamp(0, len(embeddings) - 1).to(embeddings.device)]


def project_windows(windows: torch.Tensor, projector: ModelMixin) -> torch.Tensor:
    """Audio tokens (n, tokens, dim) of windows (n, ...)."""
    parts = windows.to(projector.dtype).split(PROJECTED_WINDOWS)
    return torch.cat([projector(part) for part in parts])


def window_frames(
    hear: Callable[[torch.Tensor], torch.Tensor],
    frames: range,
    num_frames: int | None,
    spread: Fraction,
    num_pad_frames: int,
) -> torch.Tensor:
    """The windows of some frames, as `window_audio` cuts those of all.

    Args:
        hear: called with numbers (n,) of embeddings, which may lie outside the recording; gives
            embeddings (n, dim).
        frames: whose windows are wanted.
        num_frames: of the video, or None if it has no end yet.
        spread: embeddings for half a frame.
        num_pad_frames: frames seen on either side.

    Returns:
        Windows (len(frames), 2 * (2 * num_pad_frames + 1), dim).
    """
    halves = torch.arange(2 * (frames.start - num_pad_frames), 2 * (frames.stop + num_pad_frames))
    inside = halves >= 0
    if num_frames is not None:
        inside &= halves < 2 * num_frames
    # Resampled as `torch.nn.functional.interpolate` does the whole, linearly. The scale is rounded
    # once, as the library's own code is compiled.
    scale = torch.tensor(float(spread), dtype=torch.float32).double()
    places = (scale * (halves.double() + 0.5) - 0.5).float().clamp(min=0)
    lower = places.long()
    before, after = hear(lower), hear(lower + 1)
    share = (places - lower)[:, None].to(before.device)
    resampled = torch.addcmul(share * after.float(), 1 - share, before.float()).to(before.dtype)
    resampled = resampled * inside[:, None].to(resampled)
    windows = resampled.unfold(0, size=2 * (2 * num_pad_frames + 1), step=2)
    return windows.permute(0, 2, 1)  # from (frames, dim, window)
