"""How the head of a portrait moves where a call shows no pictures of it."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from svp_diffusers.checkpoints.random_pipeline import initialise
from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.pipelines.head_pictures_svp import draw_keypoints
from svp_diffusers.pipelines.head_pose_svp import drive_keypoints
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.talkers.geometry import HeadPose, locate_head_keypoints
from svp_diffusers.talkers.identity import sample_identity

from .test_pipeline import PORTRAIT, ROUNDING, SIZE, run, seeded, speech, with_styles


def place_keypoints(yaw: float = 0.05) -> np.ndarray:
    pose = HeadPose(yaw, 0.0, 0.0, 0.0, 0.0, 1.0)
    return (SIZE * locate_head_keypoints(sample_identity(3), pose)).astype(np.float32)


KEYPOINTS = place_keypoints()
PLACED = {"portrait_keypoints": KEYPOINTS}


@pytest.fixture(scope="module")
def pipeline(tiny_pipeline: SVPTalkingHeadPipeline) -> SVPTalkingHeadPipeline:
    """With a head motion model whose random weights move a lot."""
    model = HeadMotionModel(
        audio_dim=tiny_pipeline.audio_encoder.config.hidden_size,
        style_dim=tiny_pipeline.style_encoder.config.style_dim,
        hidden_dim=16,
        num_layers=1,
        num_attention_heads=2,
    )
    initialise(model, seeded())
    made = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, head_motion=model.eval())
    made.set_progress_bar_config(disable=True)
    return made


def see_heads(
    pipeline: SVPTalkingHeadPipeline, seconds: float = 0.4, **changes: Any
) -> tuple[torch.Tensor, np.ndarray]:
    """All pictures of heads that the guider was shown, one after another, and the frames."""
    shown: list[torch.Tensor] = []
    hook = pipeline.head_guider.register_forward_pre_hook(
        lambda module, arguments: shown.append(arguments[0][0].transpose(0, 1))
    )
    arguments = {"portrait_keypoints": KEYPOINTS, "num_inference_steps": 1, "guidance_scale": 1.0}
    try:
        frames = run(pipeline, seconds, **{**arguments, **changes}).frames
    finally:
        hook.remove()
    return torch.cat(shown), torch.cat(list(frames)).numpy()


def test_the_head_moves_from_where_it_is_in_the_portrait(pipeline: SVPTalkingHeadPipeline) -> None:
    heads, _ = see_heads(pipeline)
    own = torch.from_numpy(draw_keypoints(KEYPOINTS[None], SIZE, SIZE))
    assert len(heads) == 10
    assert torch.equal(heads[:1], own)
    assert (heads[-1:] - own).abs().mean() > 0.01
    again, _ = see_heads(pipeline)
    other, _ = see_heads(pipeline, generator=seeded(1))
    assert torch.equal(heads, again)
    assert (other - heads).abs().mean() > 0.005


def test_still_is_a_picture_of_the_portraits_keypoints(pipeline: SVPTalkingHeadPipeline) -> None:
    picture = draw_keypoints(KEYPOINTS[None], SIZE, SIZE)
    _, expected = see_heads(pipeline, head_keypoints=picture, portrait_keypoints=None)
    _, still = see_heads(pipeline, head_motion="still")
    _, unmoved = see_heads(pipeline, head_motion_scale=0.0)
    _, moved = see_heads(pipeline)
    np.testing.assert_array_equal(still, expected)
    np.testing.assert_array_equal(unmoved, expected)
    assert np.abs(moved - expected).mean() > 1e-3


def test_the_scale_is_that_of_the_motion(pipeline: SVPTalkingHeadPipeline) -> None:
    own = torch.from_numpy(draw_keypoints(KEYPOINTS[None], SIZE, SIZE))
    small, large = (
        (see_heads(pipeline, head_motion_scale=scale)[0][:2] - own).abs().mean()
        for scale in (0.02, 0.2)
    )
    assert 0 < small < large / 3


def test_a_turned_portrait_is_held_still_with_a_warning(
    pipeline: SVPTalkingHeadPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    turned = place_keypoints(0.8)
    logger = logging.getLogger("diffusers")
    logger.addHandler(caplog.handler)
    try:
        heads, _ = see_heads(pipeline, portrait_keypoints=turned)
        assert len(heads) == 1
        assert "turned away" in caplog.text
        caplog.clear()
        heads, _ = see_heads(pipeline, portrait_keypoints=turned, head_motion="generated")
        assert len(heads) == 10
        assert "turned away" not in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_each_of_a_batch_moves_as_by_itself(pipeline: SVPTalkingHeadPipeline) -> None:
    keypoints, seconds = [KEYPOINTS, place_keypoints(-0.1)], (0.4, 0.6)
    heads, frames = see_heads(
        pipeline,
        image=[PORTRAIT, 1 - PORTRAIT],
        audio=[speech(seconds[0]), speech(seconds[1], seed=1)],
        portrait_keypoints=keypoints,
        generator=[seeded(3), seeded(4)],
    )
    singles = [
        see_heads(
            pipeline,
            image=(PORTRAIT, 1 - PORTRAIT)[each],
            audio=speech(seconds[each], seed=each),
            portrait_keypoints=keypoints[each],
            generator=seeded(3 + each),
        )
        for each in range(2)
    ]
    torch.testing.assert_close(heads, torch.cat([head for head, _ in singles]), atol=0, rtol=0)
    alone = np.concatenate([frame for _, frame in singles])
    np.testing.assert_allclose(frames, alone, atol=ROUNDING)


def test_each_performance_has_a_motion_of_its_own(pipeline: SVPTalkingHeadPipeline) -> None:
    heads, _ = see_heads(pipeline, num_videos_per_style=2)
    assert len(heads) == 20
    assert (heads[:10] - heads[10:]).abs().mean() > 0.005


def test_a_style_that_changes_moves_the_head_too(pipeline: SVPTalkingHeadPipeline) -> None:
    styled = with_styles(pipeline)
    one, _ = see_heads(styled, style="happy", style_temperature=0.0)
    two, _ = see_heads(styled, style=[(0.0, "neutral"), (0.2, "happy")], style_temperature=0.0)
    assert len(two) == 10
    assert not torch.equal(one, two)


def test_poses_move_the_head(pipeline: SVPTalkingHeadPipeline) -> None:
    poses = np.zeros((10, 6), np.float32)
    poses[:, 0], poses[:, 5] = np.linspace(0.3, 0.6, 10), 1
    expected = draw_keypoints(drive_keypoints(KEYPOINTS, poses, SIZE), SIZE, SIZE)
    heads, _ = see_heads(pipeline, head_motion=poses)
    np.testing.assert_array_equal(heads, expected)
    heads, _ = see_heads(pipeline, head_motion=torch.from_numpy(poses), head_motion_scale=0.5)
    expected = draw_keypoints(drive_keypoints(KEYPOINTS, poses, SIZE, 0.5), SIZE, SIZE)
    np.testing.assert_array_equal(heads, expected)


def test_a_checkpoint_without_the_model_holds_the_head_still_and_says_so(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    heads, _ = see_heads(tiny_pipeline)
    assert len(heads) == 1
    with pytest.raises(ValueError, match="svp train head-motion"):
        see_heads(tiny_pipeline, head_motion="generated")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head_motion": "nodding"}, '"generated", "still" or poses'),
        ({"head_motion": np.zeros((9, 6)), **PLACED}, "above 0"),
        ({"head_motion": np.ones((9, 6)), **PLACED}, "each of the [10] frames"),
        ({"head_motion": np.ones((10, 5)), **PLACED}, "(frames, 6)"),
        ({"head_motion_scale": -1.0}, "`head_motion_scale`"),
        ({"head_motion_scale": float("nan")}, "`head_motion_scale`"),
        ({"head_keypoints": PORTRAIT[None], "portrait_keypoints": KEYPOINTS}, "leave out"),
        ({"head_keypoints": PORTRAIT[None], "head_motion": "still"}, "leave out"),
        ({"head_motion": "generated"}, "pass `portrait_keypoints`"),
        ({"portrait_keypoints": KEYPOINTS[:3]}, "(8, 2)"),
        ({"portrait_keypoints": np.full((8, 2), np.nan)}, "finite"),
        ({"portrait_keypoints": [KEYPOINTS] * 2}, "one such array for each portrait"),
        ({"portrait_keypoints": np.ones((8, 2), np.float32)}, "in one point"),
    ],
)
def test_what_contradicts_itself_is_refused(
    pipeline: SVPTalkingHeadPipeline, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is checked below
        run(pipeline, **changes)
    assert said in str(caught.value)
