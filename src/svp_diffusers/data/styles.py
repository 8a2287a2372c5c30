"""The style of a dataset's clips, by expression and voice: encoded once, stored with the clip."""

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.fingerprint import fingerprint_weights
from svp_diffusers.data.clips import ClipSample
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.people import find_speaker
from svp_diffusers.errors import DatasetError
from svp_diffusers.expression.track import average_speakers
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.sound_svp import open_sound
from svp_diffusers.speech.features import SAMPLING_RATE, choose_audio_features

SpeakerAverages = dict[str, NDArray[np.float32]]


def fingerprint_style_encoder(encoder: StyleEncoder) -> str:
    """Tells trained style encoders apart; their bank of named styles is no part of it."""
    return fingerprint_weights(encoder, without=("bank",))


def average_dataset(dataset: ClipDataset) -> SpeakerAverages:
    """The mean expression (expression_dim,) of every speaker, over the dataset's clips."""
    parts = (
        dataset.read_members(index, ("expression.npy",)).decode(pictures=False, sound=False)
        for index in range(len(dataset))
    )
    tracks = ((find_speaker(sample.metadata), sample.track_expression()) for sample in parts)
    return average_speakers(
        (speaker, track.resample()) for speaker, track in tracks if speaker and track is not None
    )


@torch.no_grad()
def encode_clip_style(
    sample: ClipSample, encoder: StyleEncoder, averages: SpeakerAverages
) -> NDArray[np.float32]:
    """The style of a clip's voice, with its expressions if it has any.

    Args:
        sample: the clip, or of it only `expression` and what the encoder hears: `audio_embeddings`,
            or the waveform for one of log-mel features.
        encoder: in float32.
        averages: of `average_dataset`, for an encoder with speaker centring.

    Returns:
        Mean and standard deviation `(2, style_dim)`.

    Raises:
        DatasetError: the clip lacks what the encoder needs.
    """
    config = encoder.config
    if config.audio_features == "wav2vec2":
        if sample.audio_embeddings is None:
            raise DatasetError(
                f"clip {sample.key!r} has no audio embeddings, since the pipeline's audio encoder "
                "gives windows of frames: use a style encoder of log-mel-80 features"
            )
        audio = np.asarray(sample.audio_embeddings, np.float32)
    else:
        audio = choose_audio_features(config.audio_features)(
            open_sound(sample.waveform, SAMPLING_RATE)
        )
    if audio.shape[-1] != config.audio_dim:
        raise DatasetError(
            f"clip {sample.key!r} has audio embeddings of {audio.shape[-1]} numbers, the style "
            f"encoder takes {config.audio_dim}; use the audio encoder that it was trained with"
        )
    inputs = {"audio": torch.from_numpy(audio)[None]}
    track = sample.track_expression()
    if track is not None:
        if track.space != config.expression_space:
            raise DatasetError(
                f"clip {sample.key!r} has {track.space} expressions, the style encoder takes "
                f"{config.expression_space}; give the pipeline a style encoder of that space"
            )
        average = None
        if config.expression_centring == "speaker":
            speaker = find_speaker(sample.metadata)
            if speaker is None:
                raise DatasetError(
                    f"the style encoder takes expressions relative to the speaker's average, and "
                    f"clip {sample.key!r} does not say its speaker; name it in the metadata"
                )
            average = averages[speaker]
        values = track.resample().center(config.expression_centring, average).values
        inputs["expression"] = torch.from_numpy(values)[None]
    style = encoder(**{name: value.to(encoder.device) for name, value in inputs.items()})[0]
    return torch.stack([style.mean, style.std]).float().cpu().numpy()


def encode_styles(dataset: ClipDataset, encoder: StyleEncoder) -> list[NDArray[np.float32]]:
    """`encode_clip_style` of every clip of a cached dataset."""
    needs_averages = encoder.config.expression_centring == "speaker"
    averages = average_dataset(dataset) if needs_averages else {}
    sound = encoder.config.audio_features != "wav2vec2"
    members = ("flac" if sound else "audio_embeddings.npy", "expression.npy")
    return [
        encode_clip_style(
            dataset.read_members(index, members).decode(pictures=False, sound=sound),
            encoder,
            averages,
        )
        for index in range(len(dataset))
    ]
