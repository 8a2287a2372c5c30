"""Reading expressions from frames with the face landmarker."""

import numpy as np
import pytest
import torch

from svp_diffusers.evaluation.talking_head.reading import LandmarkReader, load_expression_reader
from svp_diffusers.talkers.subject import LOOKS, prepare_subject
from svp_diffusers.talkers.synthesis import SynthesisSettings, act_clip


@pytest.fixture(scope="module")
def reader() -> LandmarkReader:
    reader = load_expression_reader(None, torch.device("cpu"))
    assert isinstance(reader, LandmarkReader)
    return reader


@pytest.fixture(scope="module", params=LOOKS)
def frames(request: pytest.FixtureRequest) -> np.ndarray:
    """One person with a mouth that opens."""
    take = act_clip(SynthesisSettings(seed=7, look=request.param, seconds=1.0), 0)
    subject = prepare_subject(take.look, take.identity_seed, 128, take.shot)
    pose = take.performance.poses[0]
    return np.stack([subject.draw({"jawOpen": jaw}, pose) for jaw in (0.0, 0.3, 0.6, 0.9)])


def test_an_opening_mouth_is_read(reader: LandmarkReader, frames: np.ndarray) -> None:
    read = reader.read(frames)
    assert read.found == 1
    assert read.coefficients.shape == (4, len(reader.names))
    assert np.array_equal(read.features, read.coefficients)
    (jaw,) = reader.find("jawOpen")
    opening = read.coefficients[:, jaw]
    assert (np.diff(opening) > 0).all()
    assert opening[-1] - opening[0] > 0.3
    truth = np.zeros((1, 52), np.float32)
    assert reader.select(truth).shape == (1, len(reader.names))


def test_a_frame_without_a_face_is_read_as_its_neighbour(
    reader: LandmarkReader, frames: np.ndarray
) -> None:
    blank = np.full_like(frames[:1], 128)
    read = reader.read(np.concatenate([blank, frames[:1], frames[2:3], blank, blank]))
    assert read.found == 2 / 5
    assert np.array_equal(read.coefficients[0], read.coefficients[1])
    assert np.array_equal(read.coefficients[4], read.coefficients[2])
    assert not np.array_equal(read.coefficients[1], read.coefficients[2])
    nothing = reader.read(np.concatenate([blank, blank]))
    assert nothing.found == 0
    assert not nothing.coefficients.any()
