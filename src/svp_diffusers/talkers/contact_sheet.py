"""A picture of many talkers: people in rows, emotions in columns, each a frame of a performance."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.manner import EMOTIONS, SpeakingStyle
from svp_diffusers.talkers.performance import perform
from svp_diffusers.talkers.sentences import SENTENCES
from svp_diffusers.talkers.subject import Subject, prepare_subject
from svp_diffusers.talkers.utterance import say

_FPS = 25
_HEADER = 28


def draw_talkers(seeds: Sequence[int], size: int = 192, look: str = "drawn") -> Image.Image:
    """Draw the people of some seeds in all eight emotions while they speak.

    Args:
        seeds: one a row.
        size: height and width of each picture in pixels.
        look: "drawn" or "rendered".

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    sheet = Image.new("RGB", (len(EMOTIONS) * size, len(seeds) * size + _HEADER), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(17)
    for column, emotion in enumerate(EMOTIONS):
        middle = ((column + 0.5) * size, _HEADER / 2)
        pen.text(middle, emotion, fill=(60, 60, 70), font=font, anchor="mm")
    for row, seed in enumerate(seeds):
        subject = prepare_subject(look, seed, size)
        for column, emotion in enumerate(EMOTIONS):
            picture = Image.fromarray(_draw_speaking(subject, seed, emotion))
            sheet.paste(picture, (column * size, _HEADER + row * size))
    return sheet


def _draw_speaking(subject: Subject, seed: int, emotion: str) -> np.ndarray:
    """One frame with open eyes and a typical opening of the mouth."""
    style = SpeakingStyle(seed, emotion)
    utterance = say(SENTENCES["test"][seed % len(SENTENCES["test"])], style)
    frames = len(utterance.waveform) * _FPS // 16_000
    generator = np.random.default_rng([seed, EMOTIONS.index(emotion)])
    performance = perform(
        utterance.phonemes,
        utterance.waveform,
        style.sample(generator),
        frames,
        _FPS,
        generator,
    )
    jaw = performance.expression[:, ARKIT_BLENDSHAPES.index("jawOpen")]
    blink = performance.expression[:, ARKIT_BLENDSHAPES.index("eyeBlinkLeft")]
    frame = int(np.argmin(np.abs(jaw - np.percentile(jaw, 75)) + (blink > 0.05)))
    row = performance.expression[frame].tolist()
    rig = dict(zip(ARKIT_BLENDSHAPES, row, strict=True))
    return subject.draw(rig, performance.poses[frame])
