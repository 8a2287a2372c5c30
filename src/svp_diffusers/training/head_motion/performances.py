"""Head motion to learn from, with the speech and the style that belong to it."""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline
from svp_diffusers.data.clips import ClipSample
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.people import find_speaker
from svp_diffusers.data.styles import average_dataset
from svp_diffusers.errors import DatasetError
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.head_pose import estimate_poses
from svp_diffusers.media.keypoints import resample_keypoints
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.style.encode import check_expressions
from svp_diffusers.talkers.manner import EMOTIONS, SpeakingStyle
from svp_diffusers.talkers.performance import perform
from svp_diffusers.talkers.synthesis import SPEAKERS
from svp_diffusers.talkers.utterance import say_for

FPS = Fraction(25)


@dataclass(frozen=True)
class MotionClip:
    """One performance.

    Args:
        poses: `(frames, 6)` at 25 frames a second, see `HeadMotionModel`.
        embeddings: `(t, audio_dim)` of its speech, 50 a second.
        style: of this performance, as the checkpoint's style encoder encodes it.
        waveform: `(n,)`, 16 kHz.
        emotion: in which it is said.
    """

    poses: NDArray[np.float32]
    embeddings: torch.Tensor
    style: StyleDistribution
    waveform: NDArray[np.float32]
    emotion: str


class PerformanceEncoder:
    """Speech embeddings and styles of a checkpoint.

    Args:
        checkpoint: folder or Hub id of a pipeline; None is svp-tiny.

    Raises:
        CheckpointError: it cannot be found or loaded.
    """

    def __init__(self, checkpoint: str | None) -> None:
        folder = find_checkpoint(checkpoint)
        self.pipeline = load_pipeline(folder, torch.device("cpu"), "float32")

    @torch.no_grad()
    def encode_speech(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """Embeddings `(t, audio_dim)`, 50 a second, of `(n,)`, 16 kHz."""
        return self.pipeline.encode_audio(torch.from_numpy(waveform))

    @torch.no_grad()
    def encode_style(
        self,
        expressions: Expressions,
        embeddings: torch.Tensor,
        average: NDArray[np.float32] | None = None,
    ) -> StyleDistribution:
        """Style `(style_dim,)` of expressions and their speech.

        Args:
            expressions: at any frame rate.
            embeddings: `(t, audio_dim)`, 50 a second.
            average: of the speaker, for a style encoder with speaker centring.

        Raises:
            ExpressionError: they are of another space than the checkpoint's.
            ConfigurationError: the speaker's average is needed and missing, or given needlessly.
        """
        encoder = self.pipeline.style_encoder
        expressions = expressions.resample()
        check_expressions(encoder, expressions)
        centred = expressions.center(encoder.config.expression_centring, average)
        values = torch.from_numpy(centred.values)
        style: StyleDistribution = encoder(values[None], embeddings[None])[0]
        return style


def perform_clips(
    encoder: PerformanceEncoder,
    split: str,
    utterances: int,
    takes: int,
    seconds: float,
    seed: int,
    on_progress: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> list[MotionClip]:
    """Let procedural talkers perform, undrawn: `utterances * takes` clips.

    The emotions take turns; speakers, sentences, intensity, manner and motion are drawn.

    Args:
        encoder: of the checkpoint that the clips are for.
        split: whose speakers and sentences, "train", "validation" or "test".
        utterances: how many are said.
        takes: performances of each.
        seconds: length of each.
        seed: everything follows from it.
        on_progress: called at each utterance with the task, the number done, and the total.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    clips = []
    for index in range(utterances):
        generator = np.random.default_rng([seed, index])
        emotion = EMOTIONS[index % len(EMOTIONS)]
        style = SpeakingStyle(
            int(generator.choice(SPEAKERS[split])), emotion, float(generator.uniform(0.6, 1.0))
        )
        utterance = say_for(seconds, style, split, generator)
        embeddings = encoder.encode_speech(utterance.waveform)
        frames = round(seconds * FPS)
        for _ in range(takes):
            performance = perform(
                utterance.phonemes,
                utterance.waveform,
                style.sample(generator),
                frames,
                float(FPS),
                generator,
            )
            expressions = Expressions(performance.expression, "arkit52", FPS, "performance")
            clips.append(
                MotionClip(
                    np.array([astuple(pose) for pose in performance.poses], np.float32),
                    embeddings,
                    encoder.encode_style(expressions, embeddings),
                    utterance.waveform,
                    emotion,
                )
            )
        on_progress("performances", index + 1, utterances)
    return clips


def read_clips(encoder: PerformanceEncoder, source: str, split: str) -> list[MotionClip]:
    """Read the performances of one split of a dataset, the poses from its head keypoints.

    Raises:
        DatasetError: the split is empty, or a clip is cached or lacks keypoints or expressions.
        FaceError, ExpressionError: they cannot be used.
        ConfigurationError: the style encoder takes expressions relative to the speaker's average,
            and a clip does not say its speaker.
    """
    dataset = ClipDataset(source, split)
    centring = encoder.pipeline.style_encoder.config.expression_centring
    averages = average_dataset(dataset) if centring == "speaker" else {}
    members = ("flac", "head_keypoints.npy", "expression.npy")
    clips = []
    for index in range(len(dataset)):
        stored = dataset.read_members(index, members)
        if stored.header["width"] is None:
            raise DatasetError(
                f"clip {stored.key!r} is cached and does not say how large its pictures were; give "
                "the dataset that it was cached from"
            )
        average = averages.get(find_speaker(stored.metadata) or "")
        sample = stored.decode(pictures=False)
        clips.append(_read_clip(encoder, sample, stored.header["width"], average))
    return clips


def _read_clip(
    encoder: PerformanceEncoder,
    sample: ClipSample,
    width: int,
    average: NDArray[np.float32] | None,
) -> MotionClip:
    keypoints, expressions = sample.head_keypoints, sample.track_expression()
    if keypoints is None or keypoints.shape[1] != 8 or expressions is None:
        raise DatasetError(
            f"clip {sample.key!r} lacks the 8 head keypoints or expressions; head motion is "
            "learned from both"
        )
    keypoints = resample_keypoints(keypoints, sample.fps, FPS)
    embeddings = encoder.encode_speech(sample.waveform)
    return MotionClip(
        estimate_poses(keypoints, width),
        embeddings,
        encoder.encode_style(expressions, embeddings, average),
        sample.waveform,
        str(sample.metadata.get("emotion", "unknown")),
    )
