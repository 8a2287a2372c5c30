"""Preparing drawn videos in the process of the test."""

from pathlib import Path

from drawn_videos import SquareDetector

from svp_diffusers.data.preparation.recording import prepare_video
from svp_diffusers.data.preparation.run import prepare
from svp_diffusers.data.preparation.settings import PreparationSettings
from svp_diffusers.data.preparation.sources import Source, list_sources

# The drawn videos hum instead of speaking, and their squares have no expression.
SETTINGS = PreparationSettings(size=64, minimum_speech=0.0, estimate_expressions=False)


def run_here(jobs):
    for job in jobs:
        job.run()
        yield


def prepare_here(inputs, directory, settings=SETTINGS, **listing):
    sources = list_sources([str(path) for path in inputs], **listing)
    outcomes = prepare(sources, directory, settings, SquareDetector, run_here)
    return {Path(outcome.path).name: outcome for outcome in outcomes}


def prepare_one(path, directory, settings=SETTINGS):
    return prepare_video(Source(path, {"split": "train"}), settings, directory, SquareDetector)
