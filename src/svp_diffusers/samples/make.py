"""`python -m svp_diffusers.samples.make FOLDER` makes the samples; it needs the extra `data`."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from svp_diffusers.media.video import number_of_frames
from svp_diffusers.samples import HEAD_MOTION, PORTRAITS, SPEECH
from svp_diffusers.talkers.geometry import locate_head_keypoints
from svp_diffusers.talkers.identity import sample_identity
from svp_diffusers.talkers.manner import SpeakingStyle
from svp_diffusers.talkers.performance import perform
from svp_diffusers.talkers.portrait import draw_portrait
from svp_diffusers.talkers.speech import SAMPLING_RATE
from svp_diffusers.talkers.utterance import say

IDENTITIES = (9018, 9030, 9013, 9025)
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
    people = [sample_identity(seed) for seed in IDENTITIES]
    motion = SIZE * np.stack([locate_head_keypoints(people[0], pose) for pose in poses])
    np.save(folder / HEAD_MOTION.name, motion.astype(np.float32))
    for path, person in zip(PORTRAITS, people, strict=True):
        draw_portrait(person, SIZE, pose=poses[0]).save(folder / path.name)
        keypoints = SIZE * locate_head_keypoints(person, poses[0])
        np.save(folder / f"{path.stem}.npy", keypoints.astype(np.float32))


if __name__ == "__main__":
    make_samples(Path(sys.argv[1]))
