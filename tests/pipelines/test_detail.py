"""The portrait's detail: put back where a frame agrees with what the VAE makes of the portrait."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from svp_diffusers import SVP_TINY
from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.pipelines.detail_svp import PortraitDetail, measure_detail
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAITS

SIZE, SCALE = 64, 2
POINTS = torch.tensor(
    [[16.0, 30], [17, 36], [47, 36], [48, 30], [32, 30], [32, 35], [25, 30], [39, 30]]
)


def draw_portrait() -> torch.Tensor:
    """A picture (3, 128, 128) with a fine pattern of stripes over smooth colours."""
    side = SIZE * SCALE
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    smooth = torch.stack([x / side, y / side, (x + y) / (2 * side)]) * 0.6 + 0.2
    return smooth + 0.08 * torch.sin(x * 1.7)


def shrink(picture: torch.Tensor) -> torch.Tensor:
    return F.interpolate(picture[None], (SIZE, SIZE), mode="area")[0]


def lose(picture: torch.Tensor) -> torch.Tensor:
    """What a VAE that darkens and blurs makes of a picture."""
    blurred = F.avg_pool2d(shrink(picture)[None], 5, 1, 2, count_include_pad=False)[0]
    return (blurred - 0.1).clamp(0, 1)


def find_detail() -> PortraitDetail:
    portrait = draw_portrait()
    return measure_detail(portrait, lose(portrait), POINTS)


def test_a_frame_like_the_reconstruction_becomes_the_portrait() -> None:
    portrait = draw_portrait()
    detail = measure_detail(portrait, lose(portrait), None)
    restored = detail.restore(detail.reconstruction[None], None)
    torch.testing.assert_close(restored[0], portrait, atol=1e-5, rtol=0)


@pytest.mark.parametrize("keypoints", [None, POINTS[None]])
def test_but_for_its_mouth(keypoints: torch.Tensor | None) -> None:
    detail = find_detail()
    restored = detail.restore(detail.reconstruction[None], keypoints)[0]
    lacking = (restored - draw_portrait()).abs().amax(dim=0)
    y, x = torch.meshgrid(*(torch.arange(SIZE * SCALE) / SCALE,) * 2, indexing="ij")
    away = torch.hypot((x - 32) / (14 * 0.52), (y - 30 - 14 * 1.02) / (14 * 0.36))
    assert lacking[away > 1.6].max() < 1e-4
    assert lacking[away < 0.6].mean() > 0.03


def test_where_a_frame_differs_it_stays_and_takes_the_light_only() -> None:
    detail = find_detail()
    frame = detail.reconstruction.clone()
    frame[:, 40:56, 24:40] = torch.tensor([0.7, 0.3, 0.5])[:, None, None]
    frame[:, 40:56:2, 24:40] = 0
    restored = detail.restore(frame[None], None)[0]
    inside = (slice(None), slice(88, 104), slice(56, 72))
    plain = F.interpolate(frame[None], SCALE * SIZE, mode="bicubic", align_corners=False)[0]
    light = F.interpolate(detail.light[None], SCALE * SIZE, mode="bilinear")[0]
    expected = (plain + light).clamp(0, 1)
    torch.testing.assert_close(restored[inside], expected[inside], atol=0.02, rtol=0)
    corner = (slice(None), slice(0, 40), slice(0, 40))
    torch.testing.assert_close(restored[corner], draw_portrait()[corner], atol=1e-3, rtol=0)


def test_detail_moves_with_the_head() -> None:
    detail, shift = find_detail(), 4
    portrait = draw_portrait()
    frame = detail.reconstruction.roll(shift, dims=2)
    keypoints = (POINTS + torch.tensor([shift, 0.0]))[None]
    truth = portrait.roll(shift * SCALE, dims=2)
    face = (slice(None), slice(44, 70), slice(40, 100))  # above the mouth
    moved = detail.restore(frame[None], keypoints)[0]
    still = detail.restore(frame[None], None)[0]
    assert (moved - truth)[face].abs().max() < 0.02
    assert (still - truth)[face].abs().max() > 0.06


def measure_light(frames: torch.Tensor) -> torch.Tensor:
    return (torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None] * frames).sum(dim=-3)


def test_a_portrait_without_colour_gives_frames_without() -> None:
    grey = draw_portrait().mean(dim=0, keepdim=True).expand(3, -1, -1)
    detail = measure_detail(grey, lose(grey), POINTS)
    frame = detail.reconstruction.clone()
    frame[:, 40:50, 24:40] += torch.tensor([0.1, -0.05, 0.15])[:, None, None]
    restored = detail.restore(frame[None], None)[0]
    assert (restored.amax(dim=0) - restored.amin(dim=0)).max() < 3 / 255
    bright = (slice(84, 96), slice(52, 76))
    before = F.interpolate(frame[None] + detail.light, SCALE * SIZE, mode="bicubic")[0]
    assert (measure_light(restored) - measure_light(before))[bright].abs().max() < 0.03


def test_frames_take_no_colour_beyond_the_portraits() -> None:
    detail = find_detail()
    frame = detail.reconstruction.clone()
    frame[:, 40:50, 24:40] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    restored = detail.restore(frame[None], None)[0]
    portrait = draw_portrait()
    for channel in (0, 2):  # red and blue over the light
        own = portrait[channel] - measure_light(portrait)
        made = restored[channel] - measure_light(restored)
        assert own.min() - 2 / 255 < made.min()
        assert made.max() < own.max() + 2 / 255
    inside = (slice(84, 96), slice(52, 76))
    assert measure_light(restored)[inside].mean() == pytest.approx(0.27, abs=0.12)
    assert (restored[0] - restored[2])[inside].mean() > 0.2  # it is red all the same


def test_eyes_in_one_point_leave_a_frame_finite() -> None:
    detail = find_detail()
    points = torch.full((1, 8, 2), 30.0)
    assert detail.restore(detail.reconstruction[None], points).isfinite().all()


def test_places_are_exact_under_autocast() -> None:
    detail = find_detail()
    frames = detail.reconstruction.roll(3, dims=2)[None]
    keypoints = (1.037 * POINTS + torch.tensor([1.7, 0.3]))[None]
    exact = detail.restore(frames, keypoints)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(detail.restore(frames, keypoints), exact)


def test_frames_are_as_many_times_as_large_as_was_asked_for() -> None:
    pipeline = build_random_pipeline()
    waveform = np.random.default_rng(0).uniform(-0.1, 0.1, 3200).astype(np.float32)

    def call(scale: int | None) -> torch.Tensor:
        frames: torch.Tensor = pipeline(
            draw_portrait(),
            waveform,
            find_face=False,
            portrait_keypoints=POINTS.numpy(),
            height=SIZE,
            width=SIZE,
            num_inference_steps=1,
            detail_scale=scale,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).frames[0]
        return frames

    plain = call(None)
    assert torch.equal(call(0), plain)
    assert [tuple(call(scale).shape[2:]) for scale in (1, 3)] == [(64, 64), (192, 192)]
    assert (call(1) - plain).abs().max() > 0.01
    for wrong in (9, 2.0):
        with pytest.raises(ValueError, match="`detail_scale` must be a whole number from 0 to 8"):
            call(wrong)  # type: ignore[arg-type]


def test_a_stream_and_latents_that_are_decoded_later_have_the_detail_of_a_call() -> None:
    pipeline = build_random_pipeline()
    pipeline.unet.enable_motion_modules(False)
    pipeline.register_to_config(detail_scale=SCALE)
    waveform = np.random.default_rng(0).uniform(-0.1, 0.1, 12800).astype(np.float32)
    poses = np.zeros((20, 6))
    poses[:, 0], poses[:, 5] = np.linspace(0, 0.3, 20), 1
    arguments = {
        "image": draw_portrait(),
        "audio": waveform,
        "find_face": False,
        "portrait_keypoints": POINTS.numpy(),
        "head_motion": poses,
        "height": SIZE,
        "width": SIZE,
        "num_inference_steps": 1,
        "context_length": 8,
    }

    def seed() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    called = pipeline(**arguments, generator=seed(), output_type="pt").frames[0]
    streamed = [
        each.frames for each in pipeline.stream(**arguments, generator=seed(), output_type="pt")
    ]
    later = pipeline(**arguments, generator=seed(), output_type="latent")
    decoded = torch.cat(list(pipeline.decode_latents(later.frames[0], later.details[0])))
    assert called.shape == (20, 3, SCALE * SIZE, SCALE * SIZE)
    assert torch.equal(torch.cat(streamed), called)
    assert torch.equal(decoded, called)
    unmoved = replace(later.details[0], keypoints=None)
    assert not torch.equal(
        torch.cat(list(pipeline.decode_latents(later.frames[0], unmoved))), called
    )


def test_a_face_that_is_found_is_cut_out_as_large_as_its_detail() -> None:
    svp_tiny = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY)
    picture = Image.open(PORTRAITS[0]).convert("RGB")
    (small,), (head,) = svp_tiny.find_heads([picture], None, None, True, 128, 128)
    (large,), (again,) = svp_tiny.find_heads([picture], None, None, True, 128, 128, 2)
    assert (small.size, large.size) == ((128, 128), (256, 256))
    np.testing.assert_allclose(again.keypoints, head.keypoints, atol=1e-4)
