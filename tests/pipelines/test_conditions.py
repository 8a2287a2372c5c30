"""What the UNet is given of a window of frames is of those frames."""

import pytest
import torch

from svp_diffusers.pipelines.conditions_svp import HEAD_FRAMES, Conditions
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

FRAMES = 10


def number_frames(head_frames: int = FRAMES, style_frames: int | None = FRAMES) -> Conditions:
    """Conditions whose values are the numbers of their frames."""
    numbers = torch.arange(float(FRAMES))
    style = torch.zeros(1) if style_frames is None else numbers[:, None]
    return Conditions(
        audio_tokens=numbers[:, None, None],
        style=style,
        reference_latents=torch.zeros(1, 1, 1, 1),
        reference_features={},
        head_features=numbers[:head_frames].view(1, 1, -1, 1, 1),
    )


@pytest.mark.parametrize(
    ("window", "frames"), [((0, 3), [0, 1, 2]), ((4, 7), [4, 5, 6]), ((8, 11), [8, 9, 0])]
)
def test_sound_style_and_head_of_a_window_are_of_its_frames(
    window: tuple[int, int], frames: list[int]
) -> None:
    shown = number_frames().cut(*window)
    assert shown.audio_tokens.flatten().tolist() == frames
    assert shown.style.flatten().tolist() == frames
    assert shown.head_features.flatten().tolist() == frames
    assert shown.num_frames == 3


def test_a_still_head_and_a_lasting_style_are_those_of_every_window() -> None:
    shown = number_frames(head_frames=1, style_frames=None).cut(8, 12)
    assert shown.head_features.shape == (1, 1, 4, 1, 1)
    assert shown.style.shape == (1,)


def test_each_frame_shows_its_own_picture_of_the_head(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    pictures = torch.rand(HEAD_FRAMES + 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    features = tiny_pipeline.encode_heads(pictures)
    for frame in (0, 1, HEAD_FRAMES - 1, HEAD_FRAMES, HEAD_FRAMES + 2):
        alone = tiny_pipeline.encode_heads(pictures[frame : frame + 1])[:, :, 0]
        torch.testing.assert_close(features[:, :, frame], alone, atol=1e-5, rtol=0)
