"""`python -m svp_diffusers.samples.make FOLDER` makes the samples; it needs the extra `data`."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from svp_diffusers.media.frame_rate import number_of_frames
from svp_diffusers.samples import HEAD_MOTION, PORTRAITS, SPEECH
from svp_diffusers.talkers.manner import SpeakingStyle
from svp_diffusers.talkers.performance import perform
from svp_diffusers.talkers.speech import SAMPLING_RATE
from svp_diffusers.talkers.subject import prepare_subject
from svp_diffusers.talkers.utterance import say

PEOPLE = (("rendered", 9117, 4), ("rendered", 9100, 0), ("drawn", 9013, 0), ("drawn", 9025, 0))
"""Look, seed and shot of each."""
# Speakers of the test split, whose voices are in no training data.
LINES = (
    (47, "Hello! Give me a voice and a style, and I will speak."),
    (45, "I have been meaning to fix that step for months."),
)
SIZE, FPS = 256, Fraction(25)


def make_samples(folder: Path) -> None:
    """Write the samples into a folder, the same bytes every time.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    utterances = [say(text, SpeakingStyle(speaker, "neutral")) for speaker, text in LINES]
    for path, utterance in zip(SPEECH, utterances, strict=True):
        soundfile.write(folder / path.name, utterance.waveform, SAMPLING_RATE, subtype="PCM_16")
    first = utterances[0]
    generator = np.random.default_rng(0)
    poses = perform(
        first.phonemes,
        first.waveform,
        SpeakingStyle(LINES[0][0], "neutral").sample(generator),
        number_of_frames(len(first.waveform) / SAMPLING_RATE, FPS),
        float(FPS),
        generator,
    ).poses
    people = [prepare_subject(look, seed, SIZE, shot) for look, seed, shot in PEOPLE]
    motion = SIZE * np.stack([people[0].locate_head_keypoints(pose) for pose in poses])
    np.save(folder / HEAD_MOTION.name, motion.astype(np.float32))
    for path, person in zip(PORTRAITS, people, strict=True):
        Image.fromarray(person.draw({}, poses[0])).save(folder / path.name)
        keypoints = SIZE * person.locate_head_keypoints(poses[0])
        np.save(folder / f"{path.stem}.npy", keypoints.astype(np.float32))


if __name__ == "__main__":
    make_samples(Path(sys.argv[1]))
