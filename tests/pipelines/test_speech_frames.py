"""Speech frame by frame, live or of a recording: a frame hears its own moment."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PretrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor

from svp_diffusers.pipelines.sound_svp import StoredSound
from svp_diffusers.pipelines.speech_frames_svp import LiveSpeech, RecordedSpeech, SpeechEncoder

RATE = 16000


class Loudness(PreTrainedModel):
    """An encoder whose embeddings are how loud their 25 ms are, 50 a second."""

    config_class = PretrainedConfig

    def __init__(self) -> None:
        super().__init__(PretrainedConfig())
        self.unused = torch.nn.Parameter(torch.zeros(1))  # whose dtype is the encoder's

    def forward(self, values: torch.Tensor) -> Any:
        loudness = values.unfold(1, 400, 320).square().mean(dim=2, keepdim=True)
        return SimpleNamespace(last_hidden_state=loudness)


class FrameLoudness:
    """An encoder of windows, each of which is how loud its frame is."""

    dtype = torch.float32

    def __call__(self, values: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        starts = [int(frame * RATE / fps) for frame in range(num_frames + 1)]
        frames = values[0].square().tensor_split(starts)[1:-1]
        return torch.stack([frame.sum() for frame in frames])[:, None, None]


class Windows:
    """A projector that gives the windows themselves."""

    config = SimpleNamespace(num_pad_frames=2)
    dtype = torch.float32

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        return windows


def make_speech(encoder: Any, fps: int) -> SpeechEncoder:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    return SpeechEncoder(encoder, extractor, Windows(), Fraction(fps), torch.device("cpu"))


def hear(waveform: np.ndarray, speech: SpeechEncoder, live: bool) -> torch.Tensor:
    """What each frame hears of a waveform, in pieces of 0.1 s: (frames, heard)."""
    pieces = np.split(waveform, len(waveform) // 1600)
    frames: Any = (
        LiveSpeech(iter(pieces), RATE, speech)
        if live
        else RecordedSpeech(StoredSound(lambda: pieces, RATE), speech)
    )
    windows, done = [], 0
    while (ready := frames.wait(done + 1)) > done:
        windows.append(frames.tokens.read(done, ready).clone())
        frames.drop(ready)
        done = ready
        if live:
            assert len(frames._waveform) < 3 * RATE  # however long it is
    return torch.cat(windows)[..., 0]


def click(moment: float, seconds: int = 2) -> np.ndarray:
    waveform = np.zeros(seconds * RATE, np.float32)
    waveform[round(moment * RATE)] = 0.5
    return waveform


@torch.no_grad()
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("fps", [24, 25, 30])
@pytest.mark.parametrize("moment", [0.002, 1.052])
def test_a_click_is_heard_by_the_frame_that_shows_it(moment: float, fps: int, live: bool) -> None:
    heard = hear(click(moment), make_speech(Loudness(), fps), live)
    assert heard.shape == (2 * fps, 10)
    shown = int(moment * fps)
    for lag in range(-min(2, shown), 3):  # of the five frames of a window
        assert heard[:, 4 - 2 * lag : 6 - 2 * lag].sum(dim=1).argmax() == shown + lag


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("fps", [24, 25, 30])
@pytest.mark.parametrize("moment", [0.002, 7.052])
def test_so_it_is_where_the_encoder_cuts_windows_itself(
    moment: float, fps: int, live: bool
) -> None:
    heard = hear(click(moment, 9), make_speech(FrameLoudness(), fps), live)[:, 0]
    assert heard.nonzero()[:, 0].tolist() == [int(moment * fps)]
