"""How far the styles that are asked for are seen in videos, read by the face landmarker.

What an emotion does to the 52 coefficients that the face landmarker reads is found on the true
frames of the training clips, by least squares with a term for each person. People of the test split
then speak their own sentence in all styles of the bank; of each video the mean coefficients, less
the person's mean over the styles, are held against those effects. "Recovered": the nearest effect
is that of the style; "shift": how far along it, of 1. "True frames" are the test clips themselves.

    svp data synth --look mixed --clips 480 --seconds 1.2 --seed 21 -o data
    python benchmarks/styles.py data --model svp-tiny
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.evaluation.talking_head.clips import select_look
from svp_diffusers.media.landmarks import load_face_landmarker, track_landmarks
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.head_pictures_svp import DrawnKeypoints
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.talkers.manner import EMOTIONS
from svp_diffusers.talkers.subject import LOOKS

Readings = NDArray[np.float64]
TRUE_STEP, MADE_STEP = 5, 3
"""Every so many frames are read."""
LEAST_DEVIATION = 0.02
"""Added to the deviations, so that coefficients which never move do not decide."""


@dataclass(frozen=True)
class Clip:
    """The mean coefficients of a clip's true frames, (52,)."""

    person: str
    emotion: str
    reading: Readings


@dataclass(frozen=True)
class Effects:
    """What each emotion does, (emotions, 52), over the deviations of clips of one, (52,)."""

    shifts: Readings
    deviations: Readings

    def find_nearest(self, readings: Readings) -> NDArray[np.int64]:
        """The emotion whose direction each of (n, 52) has."""
        given = readings / self.deviations
        given = given / np.linalg.norm(given, axis=1, keepdims=True)
        known = self.shifts / np.linalg.norm(self.shifts, axis=1, keepdims=True)
        return (given @ known.T).argmax(axis=1)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="dataset of talkers with pictures")
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument("--people", type=int, default=6, help="of each look")
    arguments = parser.parse_args()
    pipeline = load_pipeline(find_checkpoint(arguments.model), torch.device("cpu"), "float32")
    pipeline.set_progress_bar_config(disable=True)
    landmarker = load_face_landmarker()
    print("| look | people | recovered | true frames | shift |")
    print("|---" * 5 + "|")
    for look in LOOKS:
        effects = find_effects(read_clips(arguments.data, "train", look, landmarker))
        found = recover_true(effects, read_clips(arguments.data, "test", look, landmarker))
        made = make_people(pipeline, landmarker, arguments.data, look, arguments.people)
        centred = made - made.mean(axis=1, keepdims=True)
        numbers = np.arange(len(EMOTIONS))
        recovered = np.mean([(effects.find_nearest(each) == numbers).mean() for each in centred])
        along = (centred / effects.deviations * effects.shifts).sum(axis=2)
        shift = (along / (effects.shifts**2).sum(axis=1)).mean()
        print(f"| {look} | {len(made)} | {recovered:.2f} | {found:.2f} | {shift:.2f} |", flush=True)


def read_clips(data: str, split: str, look: str, landmarker: FaceLandmarker) -> list[Clip]:
    """Read the true frames; clips without a face are left out."""
    clips, read = ClipDataset(data, split), []
    for index in select_look(clips, look):
        clip = clips[index].decode()
        assert clip.frames is not None
        reading = read_mean(list(clip.frames[::TRUE_STEP]), landmarker)
        if not np.isnan(reading).any():
            person, emotion = clip.metadata["identity"], clip.metadata["emotion"]
            read.append(Clip(person, emotion, reading))
    return read


@torch.no_grad()
def read_mean(frames: list[NDArray[np.uint8]], landmarker: FaceLandmarker) -> Readings:
    """Mean coefficients (52,) of the frames with a face; NaN where there is none."""
    faces = [face for face in track_landmarks(frames, landmarker) if face is not None]
    if not faces:
        return np.full(52, np.nan)
    return np.mean([face.blendshapes[0].double().numpy() for face in faces], axis=0)


def find_effects(clips: list[Clip]) -> Effects:
    """Least squares of a term for each person and one for each emotion, centred over these."""
    people = sorted({clip.person for clip in clips})
    terms = np.zeros((len(clips), len(people) + len(EMOTIONS)))
    for row, clip in zip(terms, clips, strict=True):
        row[people.index(clip.person)] = 1
        row[len(people) + EMOTIONS.index(clip.emotion)] = 1
    readings = np.array([clip.reading for clip in clips])
    solved = np.linalg.lstsq(terms, readings, rcond=None)[0]
    deviations = (readings - terms @ solved).std(axis=0) + LEAST_DEVIATION
    shifts = solved[len(people) :]
    return Effects((shifts - shifts.mean(axis=0)) / deviations, deviations)


def recover_true(effects: Effects, clips: list[Clip]) -> float:
    """Share of true clips nearest to their emotion, less what is left of their person's others."""
    shifts = dict(zip(EMOTIONS, effects.shifts * effects.deviations, strict=True))
    hits = []
    for clip in clips:
        rests = [
            other.reading - shifts[other.emotion]
            for other in clips
            if other.person == clip.person and other is not clip
        ]
        if rests:
            nearest = effects.find_nearest((clip.reading - np.mean(rests, axis=0))[None])[0]
            hits.append(EMOTIONS[nearest] == clip.emotion)
    return float(np.mean(hits))


@torch.no_grad()
def make_people(
    pipeline: SVPTalkingHeadPipeline, landmarker: FaceLandmarker, data: str, look: str, number: int
) -> Readings:
    """Readings (people, emotions, 52) of test people in all styles, with their own head motion."""
    clips = ClipDataset(data, "test")
    people: dict[str, Readings] = {}
    for index in select_look(clips, look):
        person = clips.entries[index].header["metadata"]["identity"]
        if len(people) == number or person in people:
            continue
        clip = clips[index].decode()
        assert clip.frames is not None
        assert clip.head_keypoints is not None
        assert clip.reference is not None
        height, width = clip.frames.shape[1:3]
        readings = []
        for emotion in EMOTIONS:
            frames = pipeline(
                clip.reference,
                clip.waveform,
                emotion,
                head_keypoints=DrawnKeypoints(clip.head_keypoints, height, width),
                detail_scale=0,
                fps=clip.fps,
                generator=torch.Generator().manual_seed(0),
            ).frames[0]
            readings.append(read_mean([np.asarray(f) for f in frames[::MADE_STEP]], landmarker))
        if not np.isnan(readings).any():
            people[person] = np.array(readings)
    return np.array(list(people.values()))


if __name__ == "__main__":
    main()
