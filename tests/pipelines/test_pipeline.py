"""What users of diffusers pipelines rely on, on tiny random weights."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from accelerate import cpu_offload
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.models.temporal_unet_svp import MotionModule
from svp_diffusers.pipelines.guidance_svp import plan_guidance
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.sound_svp import prepare_waveform
from svp_diffusers.pipelines.speech_svp import count_frames
from svp_diffusers.pipelines.windows_svp import context_windows, divide_frames

SIZE = 64
ROUNDING = 1e-4  # other kernels for other batch shapes; pixels are in [0, 1]
PORTRAIT = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 16000))
    return (0.1 * noise).astype(np.float32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(pipeline: SVPTalkingHeadPipeline, seconds: float = 0.4, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "image": PORTRAIT,
        "audio": speech(seconds),
        "height": SIZE,
        "width": SIZE,
        "num_inference_steps": 2,
        "generator": seeded(),
        "output_type": "pt",
    }
    return pipeline(**{**arguments, **changes})


def with_styles(pipeline: SVPTalkingHeadPipeline) -> SVPTalkingHeadPipeline:
    """A copy whose bank knows two narrow styles."""
    encoder = copy.deepcopy(pipeline.style_encoder)
    for seed, name in enumerate(("neutral", "happy")):
        mean = torch.randn(encoder.config.style_dim, generator=seeded(seed))
        encoder.add_style(name, StyleDistribution(mean, torch.full_like(mean, 0.1)))
    changed = SVPTalkingHeadPipeline.from_pipe(pipeline, style_encoder=encoder)
    changed.set_progress_bar_config(disable=True)
    return changed


def test_frames_share_as_much_noise_as_asked(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    """Variance over frames of the initial noise, for 20 frames of 8x8x4 numbers."""
    for shared, own in ((0.0, 1.0), (0.75, 0.25), (1.0, 0.0)):
        noise = tiny_pipeline.prepare_latents([20], SIZE, SIZE, [seeded()], None, shared)[0]
        assert noise.var(dim=1).mean().item() == pytest.approx(own, abs=0.1)
        assert noise.var().item() == pytest.approx(1, abs=0.2)


def test_a_checkpoint_carries_its_sampling_defaults(
    tiny_pipeline: SVPTalkingHeadPipeline, tmp_path: Path
) -> None:
    defaults = {
        "num_inference_steps": 3,
        "guidance_scale": 1.0,
        "audio_guidance_scale": 2.0,
        "style_guidance_scale": 3.0,
        "shared_noise": 1.0,
    }
    SVPTalkingHeadPipeline(**tiny_pipeline.components, **defaults).save_pretrained(tmp_path)
    loaded = SVPTalkingHeadPipeline.from_pretrained(tmp_path)
    steps: list[int] = []

    def count(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        return tensors

    frames = run(loaded, num_inference_steps=None, callback_on_step_end=count).frames[0]
    assert steps == [0, 1, 2]
    torch.testing.assert_close(
        frames, run(tiny_pipeline, **defaults).frames[0], atol=ROUNDING, rtol=0
    )


def test_what_is_stored_in_half_precision_is_loaded_as_float32_by_default(tmp_path: Path) -> None:
    build_random_pipeline().to(torch.float16).save_pretrained(tmp_path)
    for given, expected in (
        ({}, torch.float32),
        ({"dtype": torch.bfloat16}, torch.bfloat16),
        ({"torch_dtype": torch.float16}, torch.float16),
    ):
        loaded = SVPTalkingHeadPipeline.from_pretrained(tmp_path, **given)
        parts = [part for part in loaded.components.values() if isinstance(part, torch.nn.Module)]
        assert {weight.dtype for part in parts for weight in part.parameters()} == {expected}


def test_a_portrait_that_the_vae_cannot_give_back_is_warned_of(
    tiny_pipeline: SVPTalkingHeadPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.no_grad():
        latents = tiny_pipeline.encode_image(PORTRAIT, SIZE, SIZE)
        psnr = tiny_pipeline.measure_portrait(PORTRAIT, tiny_pipeline.reconstruct_portrait(latents))
        decoded = tiny_pipeline.vae.decode(latents / tiny_pipeline.vae.config.scaling_factor)
    given_back = (decoded.sample[0] / 2 + 0.5).clamp(0, 1)
    error = (given_back - PORTRAIT).square().mean().item()
    assert psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)
    for threshold, warned in ((psnr + 0.1, True), (psnr - 0.1, False), (0.0, False)):
        components = tiny_pipeline.components
        picky = SVPTalkingHeadPipeline(**components, min_portrait_psnr=threshold)
        picky.save_pretrained(tmp_path)
        run(SVPTalkingHeadPipeline.from_pretrained(tmp_path), output_type="latent")
        told = [message for message in caplog.messages if "unlike those" in message]
        assert len(told) == warned
        assert all(f"{psnr:.1f} dB" in message for message in told)
        caplog.clear()


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(0.4, 25, 10), (0.03, 25, 1), (0.41, 30, 12), (1.0, 24000 / 1001, 24)],
)
def test_frames_are_duration_times_fps(
    tiny_pipeline: SVPTalkingHeadPipeline, seconds: float, fps: float, frames: int
) -> None:
    output = run(tiny_pipeline, seconds, fps=fps, num_inference_steps=1, guidance_scale=1)
    assert output.frames[0].shape == (frames, 3, SIZE, SIZE)


def test_a_recording_is_never_cut_to_whole_windows() -> None:
    for frames in range(1, 100):
        windows = context_windows(frames, 24, 4)
        assert sorted({i for start, stop in windows for i in range(start, stop)}) == [
            *range(frames)
        ]
        assert all(stop - start == min(24, frames) for start, stop in windows)
    assert count_frames(61 * 16000, 16000, 25) == 1525


def test_output_types(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    tensor = run(tiny_pipeline).frames[0]
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    array = run(tiny_pipeline, output_type="np").frames[0]
    assert array.shape == (10, SIZE, SIZE, 3)
    assert np.allclose(array, tensor.permute(0, 2, 3, 1).numpy())
    pictures = run(tiny_pipeline, output_type="pil").frames[0]
    assert len(pictures) == 10
    assert isinstance(pictures[0], Image.Image)
    assert np.abs(np.asarray(pictures[3]) / 255 - array[3]).max() <= 0.5 / 255 + 1e-6
    latents = run(tiny_pipeline, output_type="latent").frames[0]
    assert latents.shape == (4, 10, SIZE // 8, SIZE // 8)
    decoded = torch.cat(list(tiny_pipeline.decode_latents(latents)))
    assert torch.equal(decoded, tensor)


def test_return_dict_false_gives_the_same(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    output = run(tiny_pipeline)
    frames, styles = run(tiny_pipeline, return_dict=False)
    assert torch.equal(frames[0], output.frames[0])
    assert torch.equal(styles[0], output.styles[0])


def test_the_generator_decides(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    first, same = run(tiny_pipeline), run(tiny_pipeline)
    other = run(tiny_pipeline, generator=seeded(1))
    assert torch.equal(first.frames[0], same.frames[0])
    assert (first.frames[0] - other.frames[0]).abs().mean() > 1e-2


SCHEDULERS = {
    "DDIM": DDIMScheduler,
    "DDPM": DDPMScheduler,
    "DPM++": DPMSolverMultistepScheduler,
    "DPM++ SDE": partial(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"),
    "Euler": EulerDiscreteScheduler,
    "Euler ancestral": EulerAncestralDiscreteScheduler,
    "LCM": LCMScheduler,
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_batch_equals_its_single_calls(tiny_pipeline: SVPTalkingHeadPipeline, name: str) -> None:
    """Whatever the noise that a scheduler adds, and with recordings of unequal length."""
    scheduler = SCHEDULERS[name](prediction_type="v_prediction", timestep_spacing="trailing")
    pipeline = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    portraits = [PORTRAIT, torch.rand(3, SIZE, SIZE, generator=seeded(2))]
    recordings = [speech(0.5, seed=2), speech(1.2, seed=1)]  # one is cut into windows
    call = {"num_inference_steps": 3, "guidance_scale": 1.0, "output_type": "latent"}
    batch = run(
        pipeline, image=portraits, audio=recordings, generator=[seeded(3), seeded(4)], **call
    )
    for row, (image, audio) in enumerate(zip(portraits, recordings, strict=True)):
        single = run(pipeline, image=image, audio=audio, generator=seeded(3 + row), **call)
        assert torch.equal(batch.frames[row], single.frames[0])


@pytest.mark.parametrize(
    "kind",
    [
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
        EulerDiscreteScheduler,
        LCMScheduler,
    ],
)
def test_any_scheduler_runs_more_than_two_windows(
    tiny_pipeline: SVPTalkingHeadPipeline, kind: Any
) -> None:
    config = {**tiny_pipeline.scheduler.config, "rescale_betas_zero_snr": kind is DDIMScheduler}
    pipeline = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, scheduler=kind.from_config(config))
    pipeline.set_progress_bar_config(disable=True)
    frames = run(pipeline, 2.0, num_inference_steps=3, guidance_scale=1.5).frames[0]
    assert len(context_windows(50, 24, 4)) > 2
    assert frames.shape == (50, 3, SIZE, SIZE)
    assert frames.isfinite().all()
    assert frames.std() > 0.01


def test_euler_and_ddim_solve_the_same_equation(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    """Euler's latents have another scale: each scheduler brings them to what the net knows."""
    config = {
        "prediction_type": "v_prediction",
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
        "clip_sample": False,
    }
    ddim, euler = (
        run(
            SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, scheduler=kind.from_config(config)),
            num_inference_steps=4,
            guidance_scale=1.5,
            output_type="latent",
        ).frames[0]
        for kind in (DDIMScheduler, EulerDiscreteScheduler)
    )
    assert ddim.std() > 0.1
    torch.testing.assert_close(euler, ddim, atol=1e-3, rtol=0)


def test_windows_agree_with_the_whole_when_frames_are_independent(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    unet = copy.deepcopy(tiny_pipeline.unet)
    still = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, unet=unet)
    still.set_progress_bar_config(disable=True)

    def difference() -> float:
        whole = run(still, 1.2, context_length=32, output_type="latent")
        cut = run(still, 1.2, context_length=12, context_overlap=5, output_type="latent")
        return float((whole.frames[0] - cut.frames[0]).abs().max())

    with_motion = difference()
    for module in unet.modules():
        if isinstance(module, MotionModule):
            torch.nn.init.zeros_(module.proj_out.weight)
            torch.nn.init.zeros_(module.proj_out.bias)
    assert difference() < 1e-3 < 1e-2 < with_motion
    unet.enable_motion_modules(False)
    assert difference() < 1e-3


def test_windows_of_independent_frames_predict_each_frame_once() -> None:
    assert divide_frames(50, 24) == [(0, 24), (24, 48), (48, 50)]
    assert divide_frames(24, 24) == [(0, 24)]
    assert divide_frames(3, 24) == [(0, 3)]


def test_guidance_computes_only_what_it_needs() -> None:
    assert [(p.weight, p.audio) for p in plan_guidance(1.0, None, None)] == [(1.0, True)]
    joint = plan_guidance(3.5, None, None)
    assert [(p.weight, p.portrait, p.audio, p.style) for p in joint] == [
        (-2.5, False, False, False),
        (3.5, True, True, True),
    ]
    assert len(plan_guidance(3.5, 2.0, None)) == 3
    assert len(plan_guidance(3.5, None, 2.0)) == 3
    assert len(plan_guidance(3.5, 2.0, 1.5)) == 4
    assert len(plan_guidance(3.5, 3.5, 3.5)) == 2
    assert len(plan_guidance(1.0, 1.0, 2.0)) == 2
    for passes in (joint, plan_guidance(3.5, 2.0, 1.5)):
        assert sum(p.weight for p in passes) == pytest.approx(1)


def test_separate_scales_change_the_video(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    joint = run(tiny_pipeline, guidance_scale=2.0).frames[0]
    same = run(
        tiny_pipeline, guidance_scale=2.0, audio_guidance_scale=2.0, style_guidance_scale=2.0
    ).frames[0]
    assert (joint - same).abs().max() < ROUNDING
    for name in ("audio_guidance_scale", "style_guidance_scale"):
        other = run(tiny_pipeline, guidance_scale=2.0, **{name: 4.0}).frames[0]
        assert (joint - other).abs().mean() > 1e-3


def test_guidance_that_is_not_given_is_the_checkpoint_s(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    scales = {"guidance_scale": 1.0, "audio_guidance_scale": 2.0, "style_guidance_scale": 3.0}
    pipeline = SVPTalkingHeadPipeline(**tiny_pipeline.components, **scales)
    assert pipeline.fill_guidance_scales() == (1.0, 2.0, 3.0)
    assert pipeline.fill_guidance_scales(audio_guidance_scale=4.0) == (1.0, 4.0, 3.0)
    # Guidance on all together is meant for all of them.
    assert pipeline.fill_guidance_scales(5.0) == (5.0, None, None)
    assert pipeline.fill_guidance_scales(5.0, 6.0) == (5.0, 6.0, None)


@pytest.mark.parametrize("name", ["reference", "audio", "style"])
def test_attention_scales_change_the_video(
    tiny_pipeline: SVPTalkingHeadPipeline, name: str
) -> None:
    normal = run(tiny_pipeline, guidance_scale=1).frames[0]
    without = run(tiny_pipeline, guidance_scale=1, **{f"{name}_attention_scale": 0.0}).frames[0]
    assert (normal - without).abs().mean() > 1e-3


def test_audio_and_portrait_change_the_video(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    normal = run(tiny_pipeline).frames[0]
    for change in ({"audio": speech(0.4, seed=5)}, {"image": 1 - PORTRAIT}):
        assert (normal - run(tiny_pipeline, **change).frames[0]).abs().mean() > 1e-3


def test_pixels_of_0_to_255_are_those_of_0_to_1(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    whole = (255 * PORTRAIT).round().to(torch.uint8)
    array = whole.permute(1, 2, 0).numpy()
    expected = run(tiny_pipeline, image=whole / 255, head_keypoints=whole[None] / 255).frames[0]
    for image in (whole, array, array / np.float32(255), array[None], Image.fromarray(array)):
        frames = run(tiny_pipeline, image=image, head_keypoints=whole[None].numpy()).frames[0]
        assert (frames - expected).abs().max() < ROUNDING


def test_heads_are_drawn_and_encoded_once_a_video(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    class Drawn:
        """Pictures that say which of them were drawn."""

        def __init__(self, pictures: torch.Tensor) -> None:
            self.pictures, self.read = pictures, list[int]()

        def __len__(self) -> int:
            return len(self.pictures)

        def __getitem__(self, index: slice) -> np.ndarray:
            self.read += range(len(self))[index]
            return self.pictures[index].numpy()

    moving = Drawn(torch.rand(50, 3, SIZE, SIZE, generator=seeded()))
    shown: list[int] = []
    hook = tiny_pipeline.head_guider.register_forward_pre_hook(
        lambda module, arguments: shown.append(arguments[0].shape[2])
    )
    try:  # three windows, three steps, two performances
        output = run(
            tiny_pipeline,
            2.0,
            head_keypoints=moving,
            num_inference_steps=3,
            num_videos_per_style=2,
        )
    finally:
        hook.remove()
    assert len(output.frames) == 2
    assert sorted(moving.read) == sorted([0, *range(50)])  # the first is checked beforehand
    assert sum(shown) == 50
    assert max(shown) <= 24  # a few at a time, whatever the length


def test_head_keypoints(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    normal = run(tiny_pipeline).frames[0]
    still = torch.rand(1, 3, SIZE, SIZE, generator=seeded())
    one = run(tiny_pipeline, head_keypoints=still).frames[0]
    each = run(tiny_pipeline, head_keypoints=still.expand(10, -1, -1, -1)).frames[0]
    assert (normal - one).abs().mean() > 1e-3
    assert (one - each).abs().max() < ROUNDING
    array = (still[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    picture = run(tiny_pipeline, head_keypoints=[Image.fromarray(array)]).frames[0]
    assert (one - picture).abs().mean() < 5e-3  # 8 bits of the picture


def test_a_head_guider_may_take_the_portraits_own_keypoints(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        guider = HeadKeypointGuider(8, block_out_channels=(8, 8), with_reference=True)
    torch.nn.init.normal_(guider.embedding.conv_out.weight, generator=seeded())
    pictures = torch.rand(40, 3, 16, 16, generator=seeded())
    moving = copy.copy(tiny_pipeline)
    moving.head_guider = guider
    features = moving.encode_heads(pictures)
    own = pictures[:1].transpose(0, 1)[None]
    for frame in (0, 7, 30):  # of whatever window, it is the first picture of all
        alone = guider(pictures[frame : frame + 1].transpose(0, 1)[None], own)
        assert torch.allclose(features[:, :, frame], alone[:, :, 0], atol=1e-5)
    still = moving.encode_heads(pictures[:1])
    assert torch.allclose(still, features[:, :, :1], atol=1e-5)
    with pytest.raises(ValueError, match="takes keypoint images of the reference"):
        guider(own)
    with pytest.raises(ValueError, match="does not take keypoint images"):
        tiny_pipeline.head_guider(own, own)


def test_named_style_and_its_mean(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    pipeline = with_styles(tiny_pipeline)
    output = run(pipeline, style="happy", style_temperature=0)
    assert torch.equal(output.styles[0], pipeline.style_encoder.get_style("happy").mean)
    neutral = run(pipeline, style="neutral", style_temperature=0)
    assert (output.frames[0] - neutral.frames[0]).abs().mean() > 1e-3


def test_performances_of_one_line_differ(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    output = run(tiny_pipeline, num_videos_per_style=3)
    assert len(output.frames) == 3
    assert (output.styles[0] - output.styles[1]).abs().max() > 0.1
    assert (output.frames[0] - output.frames[1]).abs().mean() > 1e-3


def test_a_returned_style_repeats_the_performance(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    latents = torch.randn(1, 4, 10, SIZE // 8, SIZE // 8, generator=seeded())
    first = run(tiny_pipeline, latents=latents)
    again = run(tiny_pipeline, latents=latents, style=first.styles[0], generator=seeded(9))
    assert torch.equal(first.frames[0], again.frames[0])


def test_style_from_the_voice(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    first, again, other = (
        run(tiny_pipeline, audio=speech(0.4, seed), style="from_audio", style_temperature=0)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.styles[0], again.styles[0])
    assert not torch.allclose(first.styles[0], other.styles[0], atol=1e-6)


def test_a_schedule_moves_from_one_style_to_the_next(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    pipeline = with_styles(tiny_pipeline)
    schedule = [(0.0, "neutral"), (0.4, "happy")]
    style = run(pipeline, 1.2, style=schedule, style_temperature=0).styles[0]
    assert style.shape == (30, pipeline.style_encoder.config.style_dim)
    neutral, happy = (pipeline.style_encoder.get_style(name).mean for name in ("neutral", "happy"))
    assert torch.allclose(style[:11], neutral.expand(11, -1))  # until 0.4 s
    assert torch.allclose(style[15], (neutral + happy) / 2, atol=1e-5)  # half of the fade
    assert torch.allclose(style[20:], happy.expand(10, -1), atol=1e-6)


def test_callback_sees_and_replaces_latents(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    seen = []

    def clear(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, int(timestep), pipeline.num_timesteps, pipeline.guidance_scale))
        return {"latents": torch.zeros_like(tensors["latents"])}

    output = run(tiny_pipeline, callback_on_step_end=clear, output_type="latent")
    assert [step for step, *_ in seen] == [0, 1]
    assert seen[0][2:] == (2, 3.5)
    assert output.frames[0].abs().max() == 0


def test_interrupt_stops_denoising(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    steps = []

    def stop(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        pipeline._interrupt = True
        return tensors

    run(tiny_pipeline, num_inference_steps=5, callback_on_step_end=stop)
    assert steps == [0]
    assert len(run(tiny_pipeline).frames) == 1  # the next call is not stopped


def test_nothing_is_left_on_the_components(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    def attributes() -> dict[str, set[str]]:
        return {
            f"{part}.{name}": set(vars(module))
            for part, component in tiny_pipeline.components.items()
            if isinstance(component, torch.nn.Module)
            for name, module in component.named_modules()
        }

    before = attributes()
    run(tiny_pipeline)
    assert attributes() == before


def test_save_and_load_give_the_same_frames(
    tiny_pipeline: SVPTalkingHeadPipeline, tmp_path: Path
) -> None:
    tiny_pipeline.save_pretrained(tmp_path / "full")
    loaded = SVPTalkingHeadPipeline.from_pretrained(tmp_path / "full")
    assert loaded.components.keys() == tiny_pipeline.components.keys()
    # Weights mapped from a file may lie otherwise in memory and take other kernels.
    assert (run(loaded).frames[0] - run(tiny_pipeline).frames[0]).abs().max() < ROUNDING
    half = build_random_pipeline().to(torch.float16)
    half.save_pretrained(tmp_path / "half", variant="fp16", max_shard_size="200kB")
    assert len(list((tmp_path / "half" / "unet").glob("*.fp16*.safetensors"))) > 1
    loaded = SVPTalkingHeadPipeline.from_pretrained(
        tmp_path / "half", variant="fp16", dtype=torch.float16
    )
    assert {p.dtype for p in loaded.unet.parameters()} == {torch.float16}
    expected = half.unet.state_dict()
    assert all(torch.equal(w, expected[key]) for key, w in loaded.unet.state_dict().items())


def test_the_same_seed_builds_the_same_tiny_pipeline() -> None:
    first, second = build_random_pipeline(3), build_random_pipeline(3)
    assert torch.equal(run(first).frames[0], run(second).frames[0])


STYLES = [None, "happy", "from_audio", [(0.0, "neutral"), (0.2, "happy")]]


def run_styles(pipeline: SVPTalkingHeadPipeline) -> list[torch.Tensor]:
    head = torch.rand(1, 3, SIZE, SIZE, generator=seeded(1))
    return [run(pipeline, style=style, head_keypoints=head).frames[0] for style in STYLES]


@pytest.mark.parametrize("offload", ["sequential", "model", "leaf_level", "block_level"])
def test_offloading_changes_no_frame(
    offload: str,
) -> None:
    """Every kind that diffusers has, with the weights on the CPU brought to the CPU."""
    pipeline = with_styles(build_random_pipeline())
    expected = run_styles(pipeline)
    cpu = torch.device("cpu")
    if offload == "model":
        pipeline.enable_model_cpu_offload(device="cpu")
    elif offload == "sequential":
        # What `enable_sequential_cpu_offload` does, which refuses to do it to a CPU.
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                cpu_offload(part, cpu, offload_buffers=len(part._parameters) > 0)
        assert all(weight.is_meta for weight in pipeline.unet.parameters())
    else:
        blocks = {"num_blocks_per_group": 1} if offload == "block_level" else {}
        pipeline.enable_group_offload(onload_device=cpu, offload_type=offload, **blocks)
    for frames, same in zip(run_styles(pipeline), expected, strict=True):
        # A style encoder whose weights come late is not run by PyTorch's fused layer.
        assert (frames - same).abs().max() < ROUNDING
    if offload == "sequential":
        with pytest.raises(ValueError, match="change it before offloading"):
            pipeline.style_encoder.add_style("new", pipeline.style_encoder.prior())


def test_bfloat16_and_vae_slicing(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    pipeline = build_random_pipeline().to(torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.enable_slicing()
    output = run(pipeline)
    assert output.styles[0].dtype == torch.bfloat16
    assert output.frames[0].isfinite().all()


def test_long_speech_is_encoded_in_chunks(
    tiny_pipeline: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = prepare_waveform(speech(5.0), 16000)
    lengths: list[int] = []
    hook = tiny_pipeline.audio_encoder.register_forward_pre_hook(
        lambda module, arguments: lengths.append(arguments[0].shape[1])
    )
    try:
        with torch.no_grad():
            whole = tiny_pipeline.encode_audio(waveform)
            module = "svp_diffusers.pipelines.speech_svp"
            monkeypatch.setattr(f"{module}.AUDIO_CHUNK_SECONDS", 1)
            monkeypatch.setattr(f"{module}.AUDIO_CONTEXT_SECONDS", 1)
            chunked = tiny_pipeline.encode_audio(waveform)
    finally:
        hook.remove()
    assert chunked.shape == whole.shape == (249, 32)
    assert max(lengths[1:]) <= 3 * 16000 + 80  # one second and one of context on either side
    # Self-attention sees less: close, not equal. A chunk out of place would not be close at all.
    similarity = torch.nn.functional.cosine_similarity(whole, chunked, dim=1)
    shifted = torch.nn.functional.cosine_similarity(whole[1:], chunked[:-1], dim=1)
    assert similarity.mean() > 0.95
    assert similarity.mean() > shifted.mean() + 0.05


def test_other_sampling_rates() -> None:
    waveform = prepare_waveform(np.zeros(44100, np.float32), 44100)
    assert waveform.shape == (16000,)


def test_audio_files(tmp_path: Path) -> None:
    stereo = np.stack([speech(0.5), -0.5 * speech(0.5)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000, subtype="FLOAT")
    for given in (tmp_path / "stereo.wav", stereo.T):
        waveform = prepare_waveform(given, 16000)
        assert np.allclose(waveform.numpy(), 0.25 * speech(0.5), atol=1e-6)
    soundfile.write(tmp_path / "other.wav", speech(1.0), 8000)  # 2 s at that rate
    assert len(prepare_waveform(tmp_path / "other.wav", 16000)) == 32000
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.wav cannot be read"):
        prepare_waveform(tmp_path / "text.wav", 16000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 65}, "multiples of 8"),
        ({"width": 0, "height": -8}, "`height` must be a whole number"),
        ({"fps": 0}, "`fps`"),
        ({"fps": float("nan")}, "`fps`"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"shared_noise": 1.5}, "shared_noise"),
        ({"num_videos_per_style": 0}, "num_videos_per_style"),
        ({"style_temperature": -1}, "style_temperature"),
        ({"context_length": 33}, "at most 32"),
        ({"context_overlap": 24}, "context_overlap"),
        ({"audio": []}, "As many images"),
        ({"audio": [speech(1), speech(1)]}, "As many images"),
        ({"audio": [0.0] * 16000}, "`audio` is a list of numbers"),
        ({"guidance_scale": float("nan")}, "`guidance_scale` must be a number from 0 to 100"),
        ({"guidance_scale": 1e308}, "`guidance_scale`"),
        ({"audio_attention_scale": float("inf")}, "`audio_attention_scale`"),
        ({"num_inference_steps": 10**9}, "`num_inference_steps` must be a whole number"),
        ({"num_inference_steps": 2.5}, "`num_inference_steps` must be a whole number"),
        ({"fps": "25"}, "`fps` must be a number"),
        ({"height": "64"}, "`height` must be a whole number"),
        ({"num_videos_per_style": True}, "`num_videos_per_style` must be a whole number"),
        ({"style": [("soon", None)]}, "at a number of seconds"),
        ({"style": [(float(time), None) for time in range(3000)]}, "at most 1000 styles"),
        ({"audio": np.zeros((16000, 2), np.float32)}, "channels, samples"),
        ({"audio": np.full(16000, np.nan, np.float32)}, "NaN"),
        ({"audio": np.zeros(100, np.float32)}, "100 samples"),
        ({"generator": [seeded()] * 2}, "one a video"),
        ({"output_type": "mp4"}, "output_type"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "noise"),
        ({"image": 255 * PORTRAIT}, "Divide pixels of 0 to 255 by 255"),
        ({"image": (255 * PORTRAIT.permute(1, 2, 0)).numpy()}, "floats of 0 to 1"),
        ({"image": 2 * PORTRAIT - 1}, "floats of 0 to 1"),
        ({"image": torch.full_like(PORTRAIT, torch.nan)}, "got floats of nan"),
        ({"image": PORTRAIT.to(torch.int64)}, "got torch.int64"),
        ({"image": PORTRAIT.permute(1, 2, 0)}, "a tensor (3, height, width), got Tensor"),
        ({"image": PORTRAIT.numpy()}, "an array (height, width, 3)"),
        ({"image": "no_such.png"}, "no_such.png cannot be read"),
        ({"image": 3}, "got int"),
        ({"head_keypoints": 255 * PORTRAIT[None]}, "`head_keypoints` must hold floats of 0 to 1"),
        ({"style": "ecstatic"}, "unknown style 'ecstatic'"),
        ({"style": 3}, "StyleDistribution"),
        ({"style": torch.zeros(3)}, "(16,)"),
        ({"style": StyleDistribution(torch.zeros(3), torch.ones(3))}, "3 dimensions"),
        ({"style": StyleDistribution(torch.zeros(2, 16), torch.ones(2, 16))}, "got a batch"),
        ({"style": [(0.0, None), (9.0, None)]}, "ends at"),
        ({"style": [(1.0, None)]}, "begins at 0 seconds"),
        ({"style": [(0.0, None), (0.2, None), (0.1, None)]}, "must increase"),
        ({"style": []}, "a list of (seconds, style)"),
        ({"head_keypoints": torch.zeros(3, 3, SIZE, SIZE)}, "one image for a still head"),
        ({"head_keypoints": torch.zeros(1, 3, 32, 32)}, "images (3, 64, 64)"),
        ({"latents": torch.zeros(1, 4, 9, 8, 8)}, "have the shape (1, 4, 10, 8, 8)"),
    ],
)
def test_a_bad_argument_is_named(
    tiny_pipeline: SVPTalkingHeadPipeline, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is checked below
        run(tiny_pipeline, **changes)
    assert said in str(caught.value)


def test_a_style_of_another_encoder_is_refused(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    style_dim = tiny_pipeline.style_encoder.config.style_dim
    foreign = StyleDistribution(
        torch.zeros(style_dim), torch.ones(style_dim), encoder_id="somebody else's"
    )
    with pytest.raises(ValueError, match="somebody else's"):
        run(tiny_pipeline, style=foreign)
