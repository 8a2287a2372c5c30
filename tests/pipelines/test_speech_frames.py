"""Speech frame by frame, live or of a recording: a frame hears its own moment."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, ClassVar

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


class Windows:
    """A projector that gives the windows themselves."""

    config: ClassVar = {"num_pad_frames": 2}
    dtype = torch.float32

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        return windows


@torch.no_grad()
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("fps", [24, 25, 30])
@pytest.mark.parametrize("moment", [0.002, 1.052])
def test_a_click_is_heard_by_the_frame_that_shows_it(moment: float, fps: int, live: bool) -> None:
    waveform = np.zeros(2 * RATE, np.float32)
    waveform[round(moment * RATE)] = 0.5
    speech = SpeechEncoder(
        Loudness(),
        Wav2Vec2FeatureExtractor(do_normalize=False),
        Windows(),
        Fraction(fps),
        torch.device("cpu"),
    )
    pieces = np.split(waveform, 20)
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
    heard = torch.cat(windows)[..., 0]
    assert heard.shape == (2 * fps, 10)
    shown = int(moment * fps)
    for lag in range(-min(2, shown), 3):  # of the five frames of a window
        assert heard[:, 4 - 2 * lag : 6 - 2 * lag].sum(dim=1).argmax() == shown + lag
