from fractions import Fraction

import numpy as np
import pytest

from svp_diffusers.errors import FaceError, MediaError
from svp_diffusers.media.keypoints import (
    draw_head_keypoints,
    draw_v3_keypoints,
    fit_motion,
    read_keypoints,
    resample_keypoints,
    retarget,
)

PORTRAIT = np.array(
    [[20, 40], [22, 60], [98, 60], [100, 40], [60, 40], [60, 50], [40, 40], [80, 40]],
    dtype=np.float32,
)


def make_motion(frames: int, fps: float = 25) -> np.ndarray:
    """A head that sways 1 Hz to the right first, and nods at 0.5 Hz, seen twice as large."""
    time = np.arange(frames) / fps
    sway = np.stack([20 * np.sin(2 * np.pi * time), 8 * np.sin(np.pi * time)], axis=1)
    return (2 * PORTRAIT + 300 + sway[:, None]).astype(np.float32)


def test_retargeting_follows_the_driver_with_its_sign_and_the_size_of_the_face():
    driver = make_motion(50)
    moved = retarget(driver, PORTRAIT)
    np.testing.assert_allclose(moved[0], PORTRAIT)
    motion, expected = moved - PORTRAIT, (driver - driver[0]) / 2
    np.testing.assert_allclose(motion, expected, atol=1e-4)
    for axis in range(2):
        assert np.corrcoef(moved[:, 4, axis], driver[:, 4, axis])[0, 1] > 0.999


def test_retargeting_real_motion_keeps_its_sign(real_data):
    driver = np.load(real_data / "clips" / "vasa_10" / "head_keypoints.npy")
    portrait = np.load(real_data / "clips" / "vasa_3" / "head_keypoints.npy")[0]
    moved = retarget(driver, portrait)
    for axis in range(2):
        assert np.corrcoef(moved[:, 2, axis], driver[:, 2, axis])[0, 1] > 0.999


def test_retargeting_refuses_points_that_do_not_match():
    with pytest.raises(FaceError, match="match"):
        retarget(make_motion(5), PORTRAIT[:3])
    with pytest.raises(FaceError, match="one point"):
        retarget(np.zeros((5, 8, 2), dtype=np.float32), PORTRAIT)


@pytest.mark.parametrize(("source", "target"), [(30, 25), (25, 30), (25, 25), (60, 24)])
def test_another_frame_rate_keeps_the_tempo(source, target):
    resampled = resample_keypoints(make_motion(4 * source, source), Fraction(source), target)
    assert resampled.shape == (4 * target, 8, 2)
    expected = make_motion(4 * target, target)
    # Linear interpolation of a 1 Hz sway; the last frames lie beyond the driver's last one.
    assert np.abs(resampled - expected)[: 4 * target - 2].max() < 0.2


def test_a_longer_motion_is_cut_and_a_shorter_one_goes_back_and_forth():
    motion = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((8, 2), dtype=np.float32)
    assert fit_motion(motion, 3)[:, 0, 0].tolist() == [0, 1, 2]
    assert fit_motion(motion, 4)[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert fit_motion(motion, 11)[:, 0, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert fit_motion(motion[:1], 5)[:, 0, 0].tolist() == [0] * 5


@pytest.mark.parametrize(("height", "width"), [(128, 128), (512, 512), (256, 384)])
def test_eight_dots_lie_where_the_keypoints_are(height, width):
    keypoints = PORTRAIT[None] * min(height, width) / 128
    pictures = draw_head_keypoints(keypoints, height, width)
    assert pictures.shape == (1, 3, height, width)
    assert pictures.dtype == np.float32
    assert pictures.min() == 0
    assert pictures.max() <= 1
    colours = set()
    for x, y in keypoints[0].round().astype(int):
        colour = pictures[0, :, y, x]
        assert colour.max() > 0.9
        colours.add(tuple(colour.round(2)))
        assert pictures[0, :, :, x].any(axis=0).sum() < height / 8
    assert len(colours) == 8
    # Eight discs of radius 12/512 of the picture, and nothing else.
    area = 8 * np.pi * (12 * min(height, width) / 512) ** 2
    assert pictures[0].max(axis=0).sum() == pytest.approx(area, rel=0.2)


def test_dots_move_by_fractions_of_a_pixel():
    keypoints = np.stack([PORTRAIT, PORTRAIT + np.float32(0.25)])
    pictures = draw_head_keypoints(keypoints, 128, 128).max(axis=1)
    columns = np.arange(128)
    centre = [(picture[30:50, 10:30].sum(axis=0) * columns[10:30]).sum() for picture in pictures]
    mass = [picture[30:50, 10:30].sum() for picture in pictures]
    assert centre[1] / mass[1] - centre[0] / mass[0] == pytest.approx(0.25, abs=0.1)


def test_colours_are_the_rainbow_map():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pictures = draw_head_keypoints(PORTRAIT[None] * 4, 512, 512)
    expected = matplotlib.colormaps["rainbow"](np.linspace(0, 1, 8))[:, :3]
    for (x, y), colour in zip((PORTRAIT * 4).astype(int), expected, strict=True):
        # matplotlib looks colours up in a table of 256.
        np.testing.assert_allclose(pictures[0, :, y, x], colour, atol=0.01)


def test_keypoints_outside_the_picture_are_not_seen():
    outside = PORTRAIT[None] + np.float32(1000)
    assert not draw_head_keypoints(outside, 128, 128).any()
    assert not draw_head_keypoints(-outside, 128, 128).any()
    at_the_corner = np.zeros((1, 8, 2), dtype=np.float32)
    assert draw_head_keypoints(at_the_corner, 128, 128)[0, :, 0, 0].any()


def test_v_express_keypoints_are_drawn_as_v_express_draws_them(real_data):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    keypoints = np.load(real_data / "clips" / "vasa_10" / "head_keypoints.npy")[::40]
    for ours, points in zip(draw_v3_keypoints(keypoints, 512, 512), keypoints, strict=True):
        canvas = np.zeros((512, 512, 3), dtype=np.uint8)
        colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
        nose_x, nose_y = points[2]
        for (x, y), colour in zip(points[:2], colours[:2], strict=True):
            middle = (int((x + nose_x) / 2), int((y + nose_y) / 2))
            axes = (int(np.hypot(x - nose_x, y - nose_y) / 2), 4)
            angle = int(np.degrees(np.arctan2(y - nose_y, x - nose_x)))
            stick = cv2.ellipse2Poly(middle, axes, angle, 0, 360, 1)
            cv2.fillConvexPoly(canvas, stick, [0.6 * value for value in colour])
        for (x, y), colour in zip(points, colours, strict=True):
            cv2.circle(canvas, (int(x), int(y)), 4, colour, -1)
        expected = canvas.transpose(2, 0, 1) / 255
        for drawn, wanted in zip(ours > 0, expected > 0, strict=True):
            # A polygon with whole corners has a rim that an ellipse has not.
            assert (drawn & wanted).sum() / (drawn | wanted).sum() > 0.93
        dots = expected == 1
        assert (ours[dots] == 1).all()


def test_v_express_colours_and_order():
    picture = draw_v3_keypoints(np.array([[[20, 30], [100, 30], [60, 80]]], np.float32), 128, 128)
    assert picture[0, :, 30, 20].tolist() == [1, 0, 0]
    assert picture[0, :, 30, 100].tolist() == [0, 1, 0]
    assert picture[0, :, 80, 60].tolist() == [0, 0, 1]
    np.testing.assert_allclose(picture[0, :, 55, 40], [0.6, 0, 0], atol=1e-6)


def test_keypoints_are_read_from_a_file(tmp_path, real_data):
    np.save(tmp_path / "one.npy", PORTRAIT.astype(np.float64))
    keypoints = read_keypoints(tmp_path / "one.npy")
    assert keypoints.shape == (1, 8, 2)
    assert keypoints.dtype == np.float32
    path = real_data / "clips" / "vasa_10" / "head_keypoints.npy"
    assert read_keypoints(path, points=3).shape == (375, 3, 2)
    with pytest.raises(FaceError, match=r"expected \(frames, 8, 2\)"):
        read_keypoints(path)


def test_files_that_hold_no_keypoints(tmp_path):
    np.save(tmp_path / "shape.npy", np.zeros((5, 8, 3)))
    np.save(tmp_path / "none.npy", np.zeros((0, 8, 2)))
    np.save(tmp_path / "nan.npy", np.full((5, 8, 2), np.nan))
    np.save(tmp_path / "text.npy", np.array([["left", "right"]] * 8))
    np.save(tmp_path / "pickled.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "several.npy", a=PORTRAIT)
    (tmp_path / "several.npy.npz").rename(tmp_path / "several.npy")
    (tmp_path / "words.npy").write_text("left eye, right eye")
    whole = tmp_path / "whole.npy"
    np.save(whole, PORTRAIT)
    (tmp_path / "cut.npy").write_bytes(whole.read_bytes()[:150])
    for path in sorted(tmp_path.iterdir()):
        if path != whole:
            with pytest.raises(FaceError):
                read_keypoints(path)
    with pytest.raises(MediaError, match="does not exist"):
        read_keypoints(tmp_path / "missing.npy")
