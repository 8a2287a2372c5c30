"""Guidance: what each prediction of a step is shown, and how the predictions are weighed."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from svp_diffusers.pipelines.conditions_svp import Conditions
from svp_diffusers.pipelines.guidance_svp import (
    BATCHED_FRAMES,
    GUIDANCE_DIM,
    GuidancePass,
    batch_passes,
    embed_guidance,
    limit_guidance,
    plan_distilled_guidance,
    plan_guidance,
)
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

FRAMES = 3
SCALES = {
    "reference_attention_scale": 0.5,
    "audio_attention_scale": 0.6,
    "style_attention_scale": 0.7,
}
NAMES = (
    "encoder_hidden_states",
    "style",
    "reference_features",
    "reference_latents",
    "head_features",
)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_conditions(pipeline: SVPTalkingHeadPipeline) -> Conditions:
    reference = draw(1, 4, 8, 8, seed=1)
    with torch.no_grad():
        features = pipeline.reference_unet(reference)
    return Conditions(
        draw(FRAMES, 5, pipeline.unet.config.cross_attention_dim, seed=2),
        draw(pipeline.unet.config.style_dim, seed=3),
        reference,
        features,
        draw(1, pipeline.unet.config.block_out_channels[0], FRAMES, 8, 8, seed=4),
    )


def watch(
    pipeline: SVPTalkingHeadPipeline, passes: list[GuidancePass]
) -> tuple[torch.Tensor, list[dict[str, Any]], list[torch.Tensor]]:
    """The guided prediction, what the UNet was given each time, and what it said."""
    given: list[dict[str, Any]] = []
    said: list[torch.Tensor] = []

    def note(module: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        given.append(named)
        said.append(output[0])

    hook = pipeline.unet.register_forward_hook(note, with_kwargs=True)
    try:
        with torch.no_grad():
            guided = pipeline.predict(
                draw(1, 4, FRAMES, 8, 8, seed=5),
                torch.tensor(500),
                make_conditions(pipeline),
                passes,
                SCALES,
            )
    finally:
        hook.remove()
    return guided, given, said


def list_shown(given: dict[str, Any]) -> set[str]:
    """The conditions that a prediction was not without; speech without sound is zeros."""
    shown = {name for name in NAMES if given[name] is not None}
    return shown if given["encoder_hidden_states"].any() else shown - {"encoder_hidden_states"}


def test_each_prediction_is_shown_one_condition_more(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    _, given, _ = watch(tiny_pipeline, plan_guidance(3.5, 2.0, 1.5))
    portrait = {"reference_features", "reference_latents", "head_features"}
    assert [list_shown(each) for each in given] == [
        set(),
        portrait,
        {*portrait, "encoder_hidden_states"},
        {*portrait, "encoder_hidden_states", "style"},
    ]
    for each in given:
        assert {name: each[name] for name in SCALES} == SCALES


def test_each_condition_is_amplified_by_its_scale(tiny_pipeline: SVPTalkingHeadPipeline) -> None:
    guided, _, said = watch(tiny_pipeline, plan_guidance(3.5, 2.0, 1.5))
    nothing, portrait, heard, styled = said
    expected = (
        nothing + 3.5 * (portrait - nothing) + 2.0 * (heard - portrait) + 1.5 * (styled - heard)
    )
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)


def test_what_guidance_adds_stays_within_a_limit() -> None:
    """At each position by itself, in the direction that it has."""
    conditioned = draw(2, 4, FRAMES, 8, 8, seed=1)
    guided = conditioned + draw(2, 4, FRAMES, 8, 8, seed=2)
    added = limit_guidance(guided, conditioned, 1.5) - conditioned
    wanted = guided - conditioned
    norm = wanted.norm(dim=1, keepdim=True)
    assert 0.1 < (norm > 1.5).float().mean() < 0.9
    torch.testing.assert_close(added, torch.where(norm > 1.5, 1.5 * wanted / norm, wanted))
    assert limit_guidance(guided, conditioned, None) is guided


@pytest.mark.parametrize("scales", [(1.0, 2.0, 1.5), (3.5, 2.0, 1.5), (3.5, None, None)])
def test_a_checkpoint_limits_guidance(
    tiny_pipeline: SVPTalkingHeadPipeline, scales: tuple[float, float | None, float | None]
) -> None:
    passes = plan_guidance(*scales)
    guided, _, _ = watch(tiny_pipeline, passes)
    conditioned, _, _ = watch(tiny_pipeline, [replace(passes[-1], weight=1.0)])
    limit = 0.5 * float((guided - conditioned).norm(dim=1).max())
    limited = SVPTalkingHeadPipeline(**tiny_pipeline.components, guidance_limit=limit)
    found, _, _ = watch(limited, passes)
    expected = limit_guidance(guided, conditioned, limit)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - guided).abs().max() > 1e-3


def test_few_frames_are_predicted_in_all_passes_at_once(
    tiny_pipeline: SVPTalkingHeadPipeline,
) -> None:
    passes = plan_guidance(1.0, 2.0, 1.5)
    guided, given, _ = watch(tiny_pipeline, passes)
    alone = [watch(tiny_pipeline, [replace(each, weight=1.0)])[0] for each in passes]
    assert len(given) == 1
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    assert (alone[1] - alone[2]).abs().max() > 1e-3
    expected = sum(each.weight * own for each, own in zip(passes, alone, strict=True))
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)


def test_many_frames_are_predicted_pass_by_pass() -> None:
    passes = plan_guidance(1.0, 2.0, 2.0)
    most = BATCHED_FRAMES // len(passes)
    assert batch_passes(passes, most) == [passes]
    assert batch_passes(passes, most + 1) == [[each] for each in passes]


def test_style_may_be_guided_alone() -> None:
    shown = [(p.weight, p.portrait, p.audio, p.style) for p in plan_guidance(3.0, None, 2.0)]
    assert shown == [(-2.0, False, False, False), (1.0, True, True, False), (2.0, True, True, True)]


RANGES = {
    "guidance_scale": (1.0, 2.0),
    "audio_guidance_scale": (1.0, 4.0),
    "style_guidance_scale": (1.0, 6.0),
}


def test_a_distilled_unet_is_told_the_scales() -> None:
    (one,) = plan_distilled_guidance(RANGES, 1.0, 2.0, 3.0)
    assert (one.weight, one.portrait, one.audio, one.style) == (1.0, True, True, True)
    assert one.told_scales == (1.0, 2.0, 3.0)
    assert plan_distilled_guidance(RANGES, 1.5, None, 3.0)[0].told_scales == (1.5, 1.5, 3.0)


@pytest.mark.parametrize(
    ("scales", "name"),
    [((2.5, 2.0, 2.0), "guidance_scale"), ((1.0, 2.0, 0.5), "style_guidance_scale")],
)
def test_a_distilled_unet_knows_no_scales_but_its_own(
    scales: tuple[float, float, float], name: str
) -> None:
    with pytest.raises(ValueError, match=f"with a {name} of from 1 to"):
        plan_distilled_guidance(RANGES, *scales)


def test_scales_are_told_apart() -> None:
    told = embed_guidance(torch.tensor([[1.0, 2, 3], [1, 3, 2], [1, 2, 3.1]]))
    assert told.shape == (3, GUIDANCE_DIM)
    assert torch.pdist(told).min() > 0.1
