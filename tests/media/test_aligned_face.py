"""A face is turned upright to where lip-sync nets expect it, and put back where it was."""

import numpy as np
import pytest

from svp_diffusers.media.aligned_face import PLACES, PROPORTIONS, align_face, fade_in

from .test_paste_back import draw_picture

SIZE = 64
EXPECTED = np.array(PLACES) / PROPORTIONS * SIZE


def move(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.4, 3.0), (-0.7, 0.8)])
def test_brows_and_nose_come_to_their_places(angle: float, scale: float) -> None:
    points = move(np.array(PLACES), angle, scale, (200, 90))
    matrix = align_face(points, SIZE).matrix
    assert np.allclose(points @ matrix[:, :2].T + matrix[:, 2], EXPECTED)


@pytest.mark.parametrize("scale", [0.6, 1.5, 3.5])
def test_what_is_cut_out_and_put_back_is_the_picture(scale: float) -> None:
    frame = np.asarray(draw_picture())
    aligned = align_face(move(np.array(PLACES), 0.3, scale, (150, 40)), SIZE)
    weights = np.ones((SIZE, SIZE), np.float32)
    weights[:4], weights[-4:], weights[:, :4], weights[:, -4:] = 0, 0, 0, 0
    back = aligned.paste(frame, aligned.cut(frame), weights)
    assert np.abs(back.astype(int) - frame).mean() < 0.5
    black = aligned.paste(frame, np.zeros((SIZE, SIZE, 3), np.uint8), weights)
    assert (black != frame).any()


def test_where_nothing_is_painted_every_byte_stays() -> None:
    frame = np.asarray(draw_picture())
    aligned = align_face(move(np.array(PLACES), 0.3, 2, (150, 40)), SIZE)
    mask = np.ones((SIZE, SIZE))
    mask[32:, 16:48] = 0
    black = aligned.paste(frame, np.zeros((SIZE, SIZE, 3), np.uint8), fade_in(mask))
    changed = np.argwhere((black != frame).any(axis=2))[:, ::-1] + 0.5
    places = changed @ aligned.matrix[:, :2].T + aligned.matrix[:, 2]
    assert (places.min(axis=0) >= (15, 31)).all()
    assert (places.max(axis=0) <= (49, 64)).all()


def test_a_face_beyond_the_border_changes_nothing_there() -> None:
    frame = np.asarray(draw_picture())
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    weights = np.ones((SIZE, SIZE), np.float32)
    partly = align_face(move(np.array(PLACES), 0, 1, (450, 290)), SIZE)
    assert partly.cut(frame).shape == (SIZE, SIZE, 3)
    assert (partly.paste(frame, white, weights) != frame).any()
    outside = align_face(move(np.array(PLACES), 0, 1, (900, 900)), SIZE)
    assert (outside.paste(frame, white, weights) == frame).all()


def test_what_is_painted_fades_in_from_the_masks_border() -> None:
    mask = np.ones((SIZE, SIZE))
    mask[20:, 10:50] = 0
    weights = fade_in(mask)
    assert (weights[mask == 1] == 0).all()
    assert weights[40, 30] == 1
    assert 0 < weights[20, 30] < 1
    assert weights[-1, 30] < 1  # at the border of the face too
