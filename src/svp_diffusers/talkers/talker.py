"""One procedural talker as a video, to look at and listen to."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.audio import Recording
from svp_diffusers.media.frame_rate import number_of_frames
from svp_diffusers.media.numbers import MOST_SECONDS, check_option, check_options
from svp_diffusers.media.video import write_video
from svp_diffusers.talkers.manner import SpeakingStyle
from svp_diffusers.talkers.performance import perform
from svp_diffusers.talkers.speech import SAMPLING_RATE
from svp_diffusers.talkers.subject import LOOKS, film, prepare_subject
from svp_diffusers.talkers.utterance import say, say_for


def film_talker(
    path: Path,
    text: str | None,
    emotion: str,
    seed: int,
    size: int,
    fps: Fraction,
    seconds: float,
    look: str = "drawn",
) -> None:
    """Write an MP4 of a talker, with sound.

    Args:
        path: the MP4.
        text: what is said; sentences for `seconds` when None.
        emotion: one of `EMOTIONS`.
        seed: who is drawn, who speaks and how.
        size: height and width in pixels, a multiple of 8.
        fps: frames a second.
        seconds: length, when there is no text.
        look: "drawn" or "rendered".

    Raises:
        StyleError: an unknown emotion.
        ConfigurationError: an unknown look, or an impossible number.
        MediaError: a text of nothing, or of more than is said at once.
        MissingDependencyError: the extra `data` is not installed.
    """
    check_options(seed=seed, size=size)
    check_option("seconds", seconds, 1 / float(fps), MOST_SECONDS)
    if look not in LOOKS or size < 16 or size % 8:
        raise ConfigurationError(
            f"a talker is {' or '.join(LOOKS)}, of a multiple of 8 pixels and at least 16; got "
            f"{look!r} and {size}"
        )
    generator = np.random.default_rng(seed)
    style = SpeakingStyle(seed, emotion)
    utterance = say_for(seconds, style, "test", generator) if text is None else say(text, style)
    frames = number_of_frames(len(utterance.waveform) / SAMPLING_RATE, fps)
    performance = perform(
        utterance.phonemes,
        utterance.waveform,
        style.sample(generator),
        frames,
        float(fps),
        generator,
    )
    recording = Recording(utterance.waveform[None], SAMPLING_RATE, "espeak-ng")
    subject = prepare_subject(look, seed, size)
    write_video(path, film(subject, performance), fps, recording)
