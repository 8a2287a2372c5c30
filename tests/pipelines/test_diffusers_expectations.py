"""What users of diffusers' other pipelines expect of this one too, on tiny random weights."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    CogVideoXDPMScheduler,
    DDIMInverseScheduler,
    DiffusionPipeline,
    DPMSolverMultistepInverseScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    PyramidAttentionBroadcastConfig,
    RePaintScheduler,
    UniPCMultistepScheduler,
)
from diffusers.hooks import apply_pyramid_attention_broadcast
from peft import LoraConfig

from svp_diffusers.checkpoints.loading import SVP_TINY
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

from .test_pipeline import PORTRAIT, run, speech


def on_other_weights(pipeline: SVPTalkingHeadPipeline, *names: str) -> SVPTalkingHeadPipeline:
    """The pipeline with copies of the components named, which a test may change."""
    copies = {name: copy.deepcopy(getattr(pipeline, name)) for name in names}
    made: SVPTalkingHeadPipeline = SVPTalkingHeadPipeline.from_pipe(pipeline, **copies)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize(("output_type", "kind"), [("np", np.ndarray), ("pt", torch.Tensor)])
def test_videos_of_one_length_are_one_array(
    tiny_pipeline: SVPTalkingHeadPipeline, output_type: str, kind: type
) -> None:
    one = run(tiny_pipeline, output_type=output_type).frames
    assert isinstance(one, kind)
    assert len(one.shape) == 5
    two = run(tiny_pipeline, output_type=output_type, num_videos_per_style=2).frames
    assert two.shape == (2, *one.shape[1:])
    pair = {"image": [PORTRAIT] * 2, "audio": [speech(0.4), speech(0.2)]}
    unequal = run(tiny_pipeline, output_type=output_type, **pair).frames
    assert isinstance(unequal, list)
    assert [len(each) for each in unequal] == [10, 5]


def test_a_callback_may_return_nothing(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    frames = run(tiny_pipeline, callback_on_step_end=lambda *_: None).frames
    assert torch.equal(frames, run(tiny_pipeline).frames)


def test_guidance_may_be_changed_in_a_callback(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    """From the second step on: the video is neither that of the one scale nor of the other."""

    def change(pipeline: Any, *_: Any) -> None:
        pipeline._guidance_scale = 1.0

    def make(guidance_scale: float, **changes: Any) -> torch.Tensor:
        made = run(tiny_pipeline, guidance_scale=guidance_scale, output_type="latent", **changes)
        return made.frames

    changed = make(3.0, callback_on_step_end=change)
    assert not torch.allclose(changed, make(3.0), atol=1e-3)
    assert not torch.allclose(changed, make(1.0), atol=1e-3)
    assert torch.equal(make(1.0, callback_on_step_end=change), make(1.0))


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (FlowMatchEulerDiscreteScheduler(), "another diffusion"),
        (FlowMatchHeunDiscreteScheduler(), "another diffusion"),
        (EDMEulerScheduler(), "another diffusion"),
        (DDIMInverseScheduler(), "from pictures to noise"),
        (DPMSolverMultistepInverseScheduler(), "from pictures to noise"),
        (CogVideoXDPMScheduler(), "needs old_pred_original_sample"),
        (RePaintScheduler(), "needs mask"),
        (UniPCMultistepScheduler(use_flow_sigmas=True), "another diffusion"),
        (DPMSolverMultistepScheduler(prediction_type="flow_prediction"), "flow_prediction"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_a_scheduler_of_something_else_is_refused_at_the_start(
    tiny_pipeline: SVPTalkingHeadPipeline, scheduler: Any, reason: str
) -> None:
    pipeline = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, scheduler=scheduler)
    with pytest.raises(ValueError, match=f"{type(scheduler).__name__} .*{reason}"):
        run(pipeline)


def test_a_cache_that_would_mix_windows_and_passes_is_refused(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    pipeline = on_other_weights(tiny_pipeline, "unet")
    settings = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        cross_attention_block_skip_range=2,
        spatial_attention_block_identifiers=("attentions",),
        cross_attention_block_identifiers=("attentions",),
        current_timestep_callback=lambda: 500,
    )
    apply_pyramid_attention_broadcast(pipeline.unet, settings)
    with pytest.raises(ValueError, match="Pyramid Attention Broadcast does not work"):
        run(pipeline)


@pytest.mark.parametrize("name", ["unet", "reference_unet"])
def test_a_backend_of_attention_that_would_do_nothing_is_refused(
    tiny_pipeline: SVPTalkingHeadPipeline, name: str
) -> None:
    network = getattr(tiny_pipeline, name)
    with pytest.raises(ValueError, match="'_native_math' would do nothing"):
        network.set_attention_backend("_native_math")
    network.set_attention_backend("native")


@pytest.mark.parametrize(
    "name", ["unet", "reference_unet", "audio_projector", "style_encoder", "head_guider"]
)
def test_weights_may_be_kept_in_8_bits(tiny_pipeline: SVPTalkingHeadPipeline, name: str) -> None:
    pipeline = on_other_weights(tiny_pipeline, name)
    getattr(pipeline, name).enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    given = {
        "style": "from_audio",
        "head_keypoints": PORTRAIT[None],
        "num_inference_steps": 1,
        "guidance_scale": 1.0,
    }
    exact = run(tiny_pipeline, **given).frames
    stored = run(pipeline, **given).frames
    assert 0 < (stored - exact).abs().mean() < 0.1


def test_optional_networks_may_be_kept_in_8_bits() -> None:
    motion = HeadMotionModel.from_pretrained(SVP_TINY, subfolder="head_motion").float()
    landmarker = FaceLandmarker.from_pretrained(SVP_TINY, subfolder="face_landmarker").float()
    for network in (motion, landmarker):
        network.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    window, audio_dim = motion.config.window, motion.config.audio_dim
    velocity = motion(
        *(torch.zeros(1, window, 6), torch.tensor([500]), torch.zeros(1, window, audio_dim)),
        *(torch.zeros(1, motion.config.style_dim), torch.zeros(1, 6)),
        *(torch.zeros(1, window, 6), torch.zeros(1, window)),
    )
    assert velocity.isfinite().all()
    assert landmarker.blendshapes(torch.rand(1, 146, 2)).isfinite().all()


def add_lora(pipeline: SVPTalkingHeadPipeline) -> None:
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))


def test_a_lora_has_a_scale_in_a_call(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    pipeline = on_other_weights(tiny_pipeline, "unet")
    add_lora(pipeline)

    def make(**given: Any) -> torch.Tensor:
        frames: torch.Tensor = run(pipeline, seconds=0.1, output_type="latent", **given).frames
        return frames

    whole = make()
    without = run(tiny_pipeline, seconds=0.1, output_type="latent").frames
    half = make(cross_attention_kwargs={"scale": 0.5})
    assert torch.allclose(make(cross_attention_kwargs={"scale": 0.0}), without, atol=1e-4)
    assert torch.equal(make(cross_attention_kwargs={"scale": 1.0}), whole)
    for other in (whole, without):
        assert not torch.allclose(half, other, atol=1e-3)
    assert torch.equal(make(), whole)  # the scale was of its call alone
    for wrong in ({"scale": "half"}, {"gligen": 1}, 0.5):
        with pytest.raises(ValueError, match="scale"):
            make(cross_attention_kwargs=wrong)


def test_a_lora_without_weights_is_passed_over(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    """As in diffusers, which says so in its log."""
    pipeline = on_other_weights(tiny_pipeline, "unet")
    pipeline.load_lora_weights({})
    assert torch.equal(run(pipeline).frames, run(tiny_pipeline).frames)


def test_pickles_are_refused_when_they_would_be_saved(
    tiny_pipeline: SVPTalkingHeadPipeline, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="pickles"):
        tiny_pipeline.save_pretrained(tmp_path / "saved", safe_serialization=False)
    assert not (tmp_path / "saved").exists()


def test_what_cannot_be_saved_creates_nothing_on_the_hub(
    tiny_pipeline: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: Any, **__: Any) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", ask)
    with pytest.raises(ValueError, match="pickles"):
        tiny_pipeline.push_to_hub("org/name", safe_serialization=False)


def test_flashpack_is_passed_on(
    tiny_pipeline: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        DiffusionPipeline, "save_pretrained", lambda *_, **named: given.update(named)
    )
    tiny_pipeline.save_pretrained(tmp_path, use_flashpack=True)
    assert given["use_flashpack"] is True


def test_the_blocks_of_both_nets_compile_by_themselves(
    tiny_pipeline: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **_: compiled.append(type(module).__name__)
    )
    tiny_pipeline.reference_unet.compile_repeated_blocks()
    assert set(compiled) == {"ReferenceTransformerBlock"}
    tiny_pipeline.unet.compile_repeated_blocks()
    assert "PortraitTransformerBlock" in compiled


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that are made at once."""
    results: list[Any] = [None] * len(calls)

    def make(number: int, call: Callable[[], Any]) -> None:
        results[number] = call()

    threads = [threading.Thread(target=make, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_calls_of_several_threads_give_what_each_gives_alone(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    def make(steps: int) -> torch.Tensor:
        frames: torch.Tensor = run(tiny_pipeline, seconds=0.2, num_inference_steps=steps).frames
        return frames

    steps = (1, 4, 2)
    together = in_threads(*(lambda n=n: make(n) for n in steps))  # type: ignore[misc]
    for number, made in zip(steps, together, strict=True):
        assert torch.equal(made, make(number))


def test_a_pipeline_can_be_copied_and_called_from_its_callback(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    assert copy.deepcopy(tiny_pipeline).turn is not tiny_pipeline.turn
    inner: list[Any] = []

    def call(pipeline: Any, *_: Any) -> None:
        if not inner:
            inner.append(None)
            inner.append(run(pipeline, seconds=0.2, num_inference_steps=2).frames)

    run(tiny_pipeline, seconds=0.2, callback_on_step_end=call)
    assert inner[1].isfinite().all()
