"""Head keypoints move as the head does: against talkers, whose poses are known."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from svp_diffusers.errors import FaceError
from svp_diffusers.media.head_pose import estimate_poses
from svp_diffusers.pipelines.head_pose_svp import drive_keypoints, find_head
from svp_diffusers.talkers.geometry import HeadPose, locate_head_keypoints
from svp_diffusers.talkers.identity import sample_identity

SIZE = 128
REST = np.array([0, 0, 0, 0, 0, 1.0])
SPREAD = np.array([0.07, 0.04, 0.025, 0.012, 0.008, 0.02])


def move_heads() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Poses (100, 6) and keypoints (100, 8, 2) of ten people."""
    for seed in range(10):
        generator = np.random.default_rng(seed)
        sway = gaussian_filter1d(generator.normal(size=(100, 6)), 20, axis=0, mode="wrap")
        rest = REST + SPREAD * generator.normal(size=6)
        poses = rest + 0.8 * SPREAD * sway / sway.std(axis=0)
        person = sample_identity(seed)
        track = [locate_head_keypoints(person, HeadPose(*pose)) for pose in poses.tolist()]
        yield poses, SIZE * np.stack(track)


def distance_of_eyes(keypoints: np.ndarray) -> float:
    return float(np.hypot(*(keypoints[7] - keypoints[6])))


def test_keypoints_follow_the_poses_of_a_talker() -> None:
    errors, motions = [], []
    for poses, truth in move_heads():
        driven = drive_keypoints(truth[0], poses, SIZE)
        assert np.array_equal(driven[0], truth[0].astype(np.float32))
        size = distance_of_eyes(truth[0])
        errors.append(np.linalg.norm(driven - truth, axis=-1).mean() / size)
        motions.append(np.linalg.norm(truth - truth[0], axis=-1).mean() / size)
    assert np.mean(motions) > 0.08
    assert np.mean(errors) < 0.015  # of the distance of the eyes; it is a tenth of the motion


def test_motion_is_scaled_from_the_portrait_on() -> None:
    poses, truth = next(move_heads())
    still, half, whole = (
        drive_keypoints(truth[0], poses, SIZE, scale) - truth[0] for scale in (0.0, 0.5, 1.0)
    )
    assert np.abs(still).max() < 1e-4
    np.testing.assert_allclose(half, whole / 2, atol=0.3)
    assert np.abs(whole).max() > 5


def test_a_still_pose_leaves_the_keypoints_alone() -> None:
    poses, truth = next(move_heads())
    driven = drive_keypoints(truth[3], np.repeat(poses[:1], 5, axis=0), SIZE)
    np.testing.assert_allclose(driven, np.repeat(truth[3:4], 5, axis=0), atol=1e-4)


def test_only_the_difference_from_the_first_pose_counts() -> None:
    poses, truth = next(move_heads())
    shifted = poses + np.array([0.2, 0.1, 0.1, 0.3, 0.3, 0])
    np.testing.assert_allclose(
        drive_keypoints(truth[0], shifted, SIZE), drive_keypoints(truth[0], poses, SIZE), atol=1e-3
    )


def test_it_does_not_depend_on_the_size_of_the_picture() -> None:
    poses, truth = next(move_heads())
    large = drive_keypoints(4 * truth[0], poses, 4 * SIZE)
    np.testing.assert_allclose(large / 4, drive_keypoints(truth[0], poses, SIZE), atol=1e-3)


def test_each_angle_moves_the_nose_where_it_should() -> None:
    _, truth = next(move_heads())
    nose = 5
    for column, direction in ((0, (1, 0)), (1, (0, 1)), (3, (1, 0)), (4, (0, 1))):
        poses = np.stack([REST, REST])
        poses[1, column] = 0.1
        first, moved = drive_keypoints(truth[0], poses, SIZE)
        assert (moved - first)[nose] @ direction > 1
    poses[1] = [0, 0, 0.1, 0, 0, 1]  # clockwise: the eye at the picture's right sinks
    first, moved = drive_keypoints(truth[0], poses, SIZE)
    assert (moved - first)[7, 1] - (moved - first)[6, 1] > 1


def test_a_portraits_own_pose_is_about_right() -> None:
    off = np.array([find_head(truth[0]).pose[:3] - poses[0, :3] for poses, truth in move_heads()])
    assert np.abs(off.mean(axis=0)).max() < 0.03
    assert np.sqrt(np.square(off).mean(axis=0)).max() < 0.05


def test_a_head_is_seen_where_its_keypoints_are() -> None:
    _, truth = next(move_heads())
    head = find_head(truth[0])
    np.testing.assert_allclose(head.project(head.pose[None], SIZE)[0], truth[0], atol=1e-5)


def test_poses_of_a_clip_are_found_from_its_keypoints() -> None:
    correlations, errors = [], []
    for poses, truth in move_heads():
        noise = np.random.default_rng(0).normal(size=truth.shape)
        found = estimate_poses(truth + 0.005 * distance_of_eyes(truth[0]) * noise, SIZE)
        assert found.shape == poses.shape
        angles = [np.corrcoef(found[:, i], poses[:, i])[0, 1] for i in range(3)]
        correlations.append(angles)
        errors.append(np.std((found - poses)[:, :3], axis=0))
    assert np.min(correlations) > 0.9  # the noise alone makes 0.94 of a roll this small
    assert np.mean(errors) < 0.02


def test_wrong_keypoints_and_poses_are_refused() -> None:
    poses, truth = next(move_heads())
    with pytest.raises(ValueError, match="8 finite points"):
        find_head(truth[0, :7])
    with pytest.raises(ValueError, match="one point"):
        find_head(np.ones((8, 2)))
    with pytest.raises(FaceError, match="one point"):
        estimate_poses(np.ones((3, 8, 2)), SIZE)
    with pytest.raises(FaceError, match="NaN"):
        estimate_poses(np.full((3, 8, 2), np.nan), SIZE)
    with pytest.raises(ValueError, match="poses"):
        drive_keypoints(truth[0], poses[:, :3], SIZE)
    with pytest.raises(ValueError, match="above 0"):
        drive_keypoints(truth[0], 0 * poses, SIZE)
