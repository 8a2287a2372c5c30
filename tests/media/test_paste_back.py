"""The animated crop lies in the whole picture, and nothing else changes."""

import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.paste_back import fade_borders, place_crop
from svp_diffusers.pipelines.head_svp import FaceCrop, crop_around_face


def draw_picture(width: int = 480, height: int = 320) -> Image.Image:
    """A smooth picture with a pattern of its own everywhere."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 60 * np.sin(x / 40 + phase) + 40 * np.cos(y / 30) for phase in (0, 1, 2)]
    return Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))


def cut(picture: Image.Image, box: tuple[int, int, int, int]) -> FaceCrop:
    return crop_around_face(picture, np.array(box, dtype=np.float32), 128)


def paste(picture: Image.Image, crop: FaceCrop, frame: np.ndarray) -> np.ndarray:
    pasted = place_crop(picture, crop)
    canvas = pasted.picture.copy()
    pasted.paste(canvas, frame, pasted.match_colours(frame))
    return canvas


def test_outside_the_crop_every_byte_stays() -> None:
    picture = draw_picture()
    crop = cut(picture, (200, 120, 270, 190))
    canvas = paste(picture, crop, np.zeros((128, 128, 3), np.uint8))
    changed = (canvas != np.asarray(picture)).any(axis=2)
    side = round(128 / crop.scale)
    inside = np.zeros_like(changed)
    inside[crop.top : crop.top + side, crop.left : crop.left + side] = True
    assert changed[inside].mean() > 0.5
    assert not changed[~inside].any()


def test_the_crop_itself_comes_back_where_it_was() -> None:
    picture = draw_picture()
    crop = cut(picture, (200, 120, 270, 190))
    canvas = paste(picture, crop, np.asarray(crop.image))
    assert np.abs(canvas.astype(int) - np.asarray(picture)).max() <= 6  # of scaling twice


def test_the_middle_of_the_crop_is_the_animation() -> None:
    picture = draw_picture()
    crop = cut(picture, (200, 120, 270, 190))
    mirrored = np.asarray(crop.image)[:, ::-1]
    canvas = paste(picture, crop, mirrored)
    pasted = place_crop(picture, crop)
    rows, columns = pasted.place
    expected = np.asarray(picture)[rows, columns][:, ::-1].astype(int)
    middle = slice(pasted.side // 3, -pasted.side // 3)
    difference = canvas[rows, columns].astype(int) - expected
    spread = difference[middle, middle] - difference[middle, middle].mean(axis=(0, 1))
    assert np.abs(spread).max() <= 6


@pytest.mark.parametrize("offset", [-12, 12])
def test_no_seam_is_seen_where_the_decoder_is_off_in_colour(offset: int) -> None:
    picture = draw_picture()
    crop = cut(picture, (200, 120, 270, 190))
    frame = (np.asarray(crop.image).astype(int) + offset).clip(0, 255).astype(np.uint8)
    canvas, before = paste(picture, crop, frame).astype(int), np.asarray(picture).astype(int)
    edge = crop.left
    step = np.abs(np.diff(canvas, axis=1) - np.diff(before, axis=1))
    assert step[:, edge - 2 : edge + 3].max() <= 1
    assert np.abs(canvas - before).mean() < 1  # the offset is taken out


def test_a_border_shared_with_the_picture_does_not_fade() -> None:
    picture = draw_picture()
    crop = cut(picture, (0, 0, 100, 100))
    weights = place_crop(picture, crop).weights[..., 0]
    assert weights[0, 0] == 1
    assert weights[-1, -1] == 0
    assert weights[0, -1] == 0


def test_weights_are_smooth_and_symmetric() -> None:
    weights = fade_borders(100, True, True)
    assert weights[0] == weights[-1] == 0
    assert weights.max() == 1
    assert np.allclose(weights, weights[::-1])
    assert np.abs(np.diff(weights)).max() < 0.15


def test_two_crops_lie_in_one_picture() -> None:
    picture = draw_picture()
    boxes = ((60, 120, 110, 170), (330, 120, 380, 170))
    canvas = np.asarray(picture).copy()
    for box in boxes:
        pasted = place_crop(picture, cut(picture, box))
        frame = np.zeros((64, 64, 3), np.uint8)
        pasted.paste(canvas, frame, np.zeros(3, np.float32))
    for left, top, right, bottom in boxes:
        assert canvas[(top + bottom) // 2, (left + right) // 2].max() == 0
    assert (canvas[160, 220] == np.asarray(picture)[160, 220]).all()


@pytest.mark.parametrize(
    "other",
    [(256, 120, 300, 170), (150, 120, 194, 170), (200, 176, 250, 220), (200, 70, 250, 114)],
    ids=["right", "left", "below", "above"],
)
def test_a_neighbours_face_is_left_alone(other: tuple[int, int, int, int]) -> None:
    picture, face = draw_picture(), (200, 120, 250, 170)
    crop = cut(picture, face)
    pasted = place_crop(picture, crop, face, [other])
    weights = np.zeros((320, 480))
    weights[pasted.place] = pasted.weights[..., 0]
    left, top, right, bottom = other
    assert weights[top:bottom, left:right].max() == 0
    left, top, right, bottom = face
    assert weights[top:bottom, left:right].min() > 0.5
    alone = np.zeros((320, 480))
    alone[pasted.place] = place_crop(picture, crop).weights[..., 0]
    assert (weights <= alone).all()


def test_faces_that_overlap_share_the_border_in_their_middle() -> None:
    picture, face, other = draw_picture(), (200, 120, 250, 170), (240, 120, 290, 170)
    for mine, theirs, own, foreign in ((face, other, 235, 255), (other, face, 255, 235)):
        pasted = place_crop(picture, cut(picture, mine), mine, [theirs])
        weights = np.zeros((320, 480))
        weights[pasted.place] = pasted.weights[..., 0]
        assert weights[145, own] > 0.9
        assert weights[145, foreign] == 0


def test_an_odd_picture_is_refused() -> None:
    picture = draw_picture(481, 320)
    with pytest.raises(ConfigurationError, match="481x320"):
        place_crop(picture, cut(picture, (200, 120, 270, 190)))
