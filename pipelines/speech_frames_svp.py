"""Speech for SVP, frame by frame: of a recording that is read as it is needed, or heard live.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from diffusers import ModelMixin
from transformers import FeatureExtractionMixin, PreTrainedModel

from .sound_svp import Level, Piece, StoredSound, check_length, measure_level, resample_pieces
from .speech_svp import (
    AUDIO_STRIDE,
    PROJECTED_WINDOWS,
    count_embeddings,
    count_frames,
    encode_speech_pieces,
    encode_waveform,
    encode_windows,
    project_windows,
    window_frames,
)

EMBEDDINGS_PER_SECOND = 50
LOOK_AHEAD_SECONDS = Fraction(1, 5)  # of sound that a frame waits for when speech is live
PAST_SECONDS = 1  # of sound that is encoded before a frame when speech is live
MEMORY_SECONDS = 6  # for which embeddings are kept, as the motion of the head needs them
CONTEXT_SECONDS = 2  # on either side of a part that an encoder of windows encodes
PART_SECONDS = 26  # of such a part

# Live speech is normalised by the level of all that was heard, and of a second before it at the
# usual level of speech, -26 dB of full scale (ITU-T P.56): the first noise is not taken for speech.
USUAL_LEVEL = Level(16000, 0.0, 10**-2.6)


class Tape:
    """Rows that come piece by piece, of which those that are not needed any more are dropped."""

    def __init__(self, pieces: Iterable[torch.Tensor]) -> None:
        self._pieces = iter(pieces)
        self._held: list[torch.Tensor] = []
        self._first = self._end = 0  # rows

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Rows (stop - start, ...), once they have come."""
        while self._end < stop:
            piece = next(self._pieces)
            self._held.append(piece)
            self._end += len(piece)
        if len(self._held) > 1:
            self._held = [torch.cat(self._held)]
        return self._held[0][start - self._first : stop - self._first]

    def drop(self, before: int) -> None:
        """Forget the rows before this one."""
        while self._held and self._first + len(self._held[0]) <= before:
            self._first += len(self._held.pop(0))
        if self._held and self._first < before:
            self._held[0] = self._held[0][before - self._first :].clone()
            self._first = before

    def close(self) -> None:
        """Let go of where the pieces come from."""
        self._pieces = iter(())


@dataclass(frozen=True)
class SpeechEncoder:
    """What turns speech into audio tokens, and for which video.

    projector: windows of frames to audio tokens
    """

    encoder: PreTrainedModel | ModelMixin
    extractor: FeatureExtractionMixin
    projector: ModelMixin
    fps: Fraction
    device: torch.device

    @property
    def num_pad_frames(self) -> int:
        """Frames that a window reaches on either side of its own, where moments are encoded."""
        return int(self.projector.config.num_pad_frames)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return int(self.extractor.sampling_rate)

    @property
    def gives_embeddings(self) -> bool:
        """Whether it encodes moments, and not the windows of frames."""
        return isinstance(self.encoder, PreTrainedModel)

    def sample_of(self, frame: int) -> int:
        """The first sample of a frame."""
        return math.floor(frame * self.rate / self.fps)

    def encode_windows(self, waveform: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Windows (num_frames, ...) of a waveform (samples,)."""
        windows = encode_windows(
            waveform, self.encoder, self.extractor, num_frames, self.fps, self.device
        )
        return windows


class SpeechFrames(Protocol):
    """Speech, frame by frame."""

    @property
    def num_frames(self) -> int | None:
        """Of the whole, if it is known."""

    tokens: Tape
    """Audio tokens (tokens, dim) of each frame."""

    def wait(self, frames: int) -> int:
        """Wait until so many frames can be made, or there are no more; give how many can."""

    def hear(self, index: torch.Tensor) -> torch.Tensor:
        """Embeddings (n, dim) by their numbers (n,), which may lie outside of what is heard."""

    def drop(self, before: int) -> None:
        """Forget what frames before this one need."""

    def close(self) -> None:
        """Let go of the file, or of the iterator, that the sound comes from."""


class RecordedSpeech:
    """A recording, which is read twice: to measure its level, and to encode it.

    Args:
        sound: the recording.
        speech: what encodes it.

    Raises:
        ValueError: as `prepare_waveform`.
    """

    def __init__(self, sound: StoredSound, speech: SpeechEncoder) -> None:
        self._sound, self._speech = sound, speech
        self._level = measure_level(sound.waveform(speech.rate))
        self._num_embeddings = count_embeddings(self._level.num_samples)
        self.num_frames = count_frames(self._level.num_samples, speech.rate, speech.fps)
        if speech.gives_embeddings:
            pieces = sound.waveform(speech.rate)
            self._embeddings = Tape(
                encode_speech_pieces(
                    pieces, self._level, speech.encoder, speech.extractor, speech.device
                )
            )
            self.tokens = Tape(self._make_tokens())
        else:
            self.tokens = Tape(self._make_tokens_of_windows())

    def wait(self, frames: int) -> int:
        """All frames, since they need no waiting."""
        return self.num_frames

    def hear(self, index: torch.Tensor) -> torch.Tensor:
        """See `SpeechFrames`; beyond the ends, the first and the last embedding are repeated."""
        index = index.clamp(0, self._num_embeddings - 1)
        first = int(index.min())
        embeddings = self._embeddings.read(first, int(index.max()) + 1)
        return embeddings[(index - first).to(embeddings.device)]

    def drop(self, before: int) -> None:
        """See `SpeechFrames`."""
        self.tokens.drop(before)
        if self._speech.gives_embeddings:
            seconds = before / self._speech.fps - MEMORY_SECONDS
            self._embeddings.drop(math.floor(seconds * EMBEDDINGS_PER_SECOND))

    def close(self) -> None:
        """See `SpeechFrames`."""
        self.tokens.close()
        if self._speech.gives_embeddings:
            self._embeddings.close()

    def _make_tokens(self) -> Iterator[torch.Tensor]:
        spread = Fraction(self._num_embeddings, 2 * self.num_frames)
        pad, step = self._speech.num_pad_frames, PROJECTED_WINDOWS
        for start in range(0, self.num_frames, step):
            frames = range(start, min(start + step, self.num_frames))
            windows = window_frames(self.hear, frames, self.num_frames, spread, pad)
            yield project_windows(windows, self._speech.projector)

    def _make_tokens_of_windows(self) -> Iterator[torch.Tensor]:
        speech, total = self._speech, self.num_frames
        context, step = (math.ceil(each * speech.fps) for each in (CONTEXT_SECONDS, PART_SECONDS))
        waveform = Tape(map(torch.from_numpy, self._sound.waveform(speech.rate)))
        for start in range(0, total, step):
            stop = min(start + step, total)
            first, last = max(0, start - context), min(stop + context, total)
            end = self._level.num_samples if last == total else speech.sample_of(last)
            heard = waveform.read(speech.sample_of(first), end)
            windows = speech.encode_windows(heard, last - first)
            yield project_windows(windows[start - first : stop - first], speech.projector)
            waveform.drop(speech.sample_of(max(0, stop - context)))


class LiveSpeech:
    """Speech that is heard now: a frame is made when 0.2 s of sound beyond it have come.

    A frame is encoded with a second before it, and what is heard is normalised by its level so far,
    so that a frame does not depend on how the sound is cut into pieces.

    Args:
        pieces: of a waveform, as they come: (samples,) or (channels, samples).
        sampling_rate: of them.
        speech: what encodes it.
    """

    def __init__(self, pieces: Iterator[Piece], sampling_rate: int, speech: SpeechEncoder) -> None:
        self.num_frames: int | None = None
        self._speech = speech
        self._pieces = resample_pieces(pieces, sampling_rate, speech.rate)
        self._waveform, self._offset = np.zeros(0, np.float32), 0
        self._level, self._levelled = USUAL_LEVEL, 0
        self._recent: list[torch.Tensor] = []  # the last embeddings
        self._num_recent = 0  # the number of the one after them
        self.tokens = Tape(self._make_tokens())

    @property
    def _past(self) -> Fraction:
        """Seconds before a frame that an encoder of moments encodes it with."""
        return PAST_SECONDS + self._speech.num_pad_frames / self._speech.fps

    @property
    def _past_frames(self) -> int:
        """Frames before one that an encoder of windows encodes it with."""
        return math.ceil(PAST_SECONDS * self._speech.fps)

    @property
    def _heard(self) -> int:
        return self._offset + len(self._waveform)

    @property
    def _ready(self) -> int:
        if self.num_frames is not None:
            return self.num_frames
        seconds = Fraction(self._heard, self._speech.rate) - LOOK_AHEAD_SECONDS
        return max(0, math.floor(seconds * self._speech.fps))

    def wait(self, frames: int) -> int:
        """See `SpeechFrames`. Raises `ValueError` for what is no waveform, or too short."""
        while self.num_frames is None and self._ready < frames:
            piece = next(self._pieces, None)
            if piece is None:
                check_length(self._heard)
                self.num_frames = count_frames(self._heard, self._speech.rate, self._speech.fps)
            else:
                self._waveform = np.concatenate([self._waveform, piece])
        return self._ready

    def hear(self, index: torch.Tensor) -> torch.Tensor:
        """See `SpeechFrames`. What is still to be said is taken to sound like what was said: the
        last seconds, backwards.

        As if no more had been heard than when the first of them was 0.2 s away, so that nothing
        depends on how the sound is cut into pieces.
        """
        oldest = self._num_recent - len(self._recent)
        last = max(int(index.min()) - math.ceil(LOOK_AHEAD_SECONDS * EMBEDDINGS_PER_SECOND), 0)
        index = (last - (last - index).abs()).clamp(oldest, self._num_recent - 1) - oldest
        return torch.stack(self._recent)[index.to(self._recent[0].device)]

    def drop(self, before: int) -> None:
        """See `SpeechFrames`."""
        self.tokens.drop(before)
        self._recent = self._recent[-MEMORY_SECONDS * EMBEDDINGS_PER_SECOND :]
        if self._speech.gives_embeddings:
            start = self._speech.sample_of(before) - math.ceil(self._past * self._speech.rate)
            start = min(start, self._levelled) - AUDIO_STRIDE
        else:
            start = self._speech.sample_of(before - self._past_frames)
        if start > self._offset:
            self._waveform = self._waveform[start - self._offset :].copy()
            self._offset = start

    def close(self) -> None:
        """See `SpeechFrames`."""
        self._pieces = iter(())

    def _make_tokens(self) -> Iterator[torch.Tensor]:
        done = 0
        while True:
            frames = range(done, min(self._ready, done + PROJECTED_WINDOWS))
            if self._speech.gives_embeddings:
                windows = torch.cat([self._encode_frame(frame) for frame in frames])
            else:
                windows = self._encode_windows(frames)
            yield project_windows(windows, self._speech.projector)
            done = frames.stop

    def _end_of(self, frame: int) -> int:
        """The sample after the last one that a frame waits for."""
        seconds = (frame + 1) / self._speech.fps + LOOK_AHEAD_SECONDS
        return min(self._heard, math.ceil(seconds * self._speech.rate))

    def _encode_windows(self, frames: range) -> torch.Tensor:
        speech = self._speech
        first = max(0, frames.start - self._past_frames)
        heard = self._waveform[speech.sample_of(first) - self._offset :]
        heard = heard[: self._end_of(frames[-1]) - speech.sample_of(first)]
        windows = speech.encode_windows(torch.from_numpy(heard), frames.stop - first)
        return windows[frames.start - first :]

    def _encode_frame(self, frame: int) -> torch.Tensor:
        """The window (1, ...) of a frame; its embeddings are kept for `hear`."""
        speech, end = self._speech, self._end_of(frame)
        self._level = self._level.add(
            self._waveform[self._levelled - self._offset : end - self._offset]
        )
        self._levelled = max(end, self._levelled)
        spread = Fraction(EMBEDDINGS_PER_SECOND, 2) / speech.fps
        first = max(0, math.floor((frame / speech.fps - self._past) * EMBEDDINGS_PER_SECOND))
        heard = self._waveform[first * AUDIO_STRIDE - self._offset : end - self._offset]
        hidden = encode_waveform(
            heard, self._level, speech.encoder, speech.extractor, speech.device
        )
        now = min(math.floor((frame + 1) / speech.fps * EMBEDDINGS_PER_SECOND), first + len(hidden))
        self._recent += hidden[self._num_recent - first : now - first].unbind()
        self._num_recent = max(now, self._num_recent)

        def hear(index: torch.Tensor) -> torch.Tensor:
            return hidden[(index - first).clamp(0, len(hidden) - 1).to(hidden.device)]

        pad = speech.num_pad_frames
        return window_frames(hear, range(frame, frame + 1), self.num_frames, spread, pad)
