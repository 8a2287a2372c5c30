"""The face's place, for head guiders that are shown it in place of keypoints."""

import copy

import pytest
import torch

from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.pipelines.head_pictures_svp import draw_face_rectangle
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline


def test_the_place_of_a_face_is_its_box_and_a_tenth_more_on_each_side() -> None:
    expected = torch.zeros(1, 3, 100, 200)
    expected[:, :, 26:74, 32:128] = 1
    assert torch.equal(draw_face_rectangle(100, 200, (0.2, 0.3, 0.6, 0.7)), expected)
    assert draw_face_rectangle(100, 200, (0.0, 0.0, 1.0, 1.0)).min() == 1


def test_a_face_that_nobody_looked_for_is_in_the_middle(
    tiny_pipeline: SVPTalkingHeadPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = copy.copy(tiny_pipeline)
    pipeline.head_guider = HeadKeypointGuider(8, block_out_channels=(8, 8), keypoint_layout="face")
    assert torch.equal(pipeline.draw_default_head(64, 64), draw_face_rectangle(64, 64))
    assert not caplog.messages
    assert tiny_pipeline.draw_default_head(64, 64) is None  # where keypoints are is not guessed
    assert "keypoints are not known" in caplog.messages[0]
