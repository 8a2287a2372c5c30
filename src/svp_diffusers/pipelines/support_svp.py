"""What of diffusers a call cannot work with: it is refused, where it would spoil videos silently.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import inspect
from typing import Any

import torch

PREDICTIONS = ("epsilon", "sample", "v_prediction")
STEP_ARGUMENTS = {"model_output", "timestep", "sample"}

CACHE_HOOKS = {
    "pyramid_attention_broadcast": "Pyramid Attention Broadcast",
    "faster_cache_denoiser": "FasterCache",
    "faster_cache_block": "FasterCache",
    "fbc_leader_block_hook": "First Block Cache",
    "mag_cache_leader_block_hook": "MagCache",
    "sea_cache_root": "SeaCache",
    "taylorseer_cache": "TaylorSeer",
}
"""Names of diffusers' hooks, and of the caches that they belong to."""


def check_scheduler(scheduler: Any) -> None:
    """Check that a scheduler denoises what a UNet of ours was trained on.

    Raises:
        ValueError: if it is of another diffusion (flow matching, EDM, consistency), goes from
            pictures to noise, or needs more than a prediction for a step.
    """
    name, config = type(scheduler).__name__, getattr(scheduler, "config", {})
    reason = None
    if "Inverse" in name:
        reason = "goes from pictures to noise"
    elif "trained_betas" not in config or config.get("use_flow_sigmas"):
        reason = "is of another diffusion than checkpoints are trained with, which has betas"
    elif config.get("prediction_type", "epsilon") not in PREDICTIONS:
        reason = f"is for UNets that predict {config['prediction_type']!r}"
    else:
        needed = {
            each.name
            for each in inspect.signature(scheduler.step).parameters.values()
            if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
        }
        if needed - STEP_ARGUMENTS:
            others = ", ".join(sorted(needed - STEP_ARGUMENTS))
            reason = f"needs {others} for a step, which a video has not"
    if reason is not None:
        raise ValueError(
            f"{name} {reason}. Take another scheduler, such as DDIMScheduler, "
            "EulerDiscreteScheduler or UniPCMultistepScheduler, with the configuration of the "
            "checkpoint's own."
        )


def check_caches(unet: torch.nn.Module) -> None:
    """Check that no cache takes what one prediction of a step computed for the next.

    A step predicts several windows, each with and without its conditions: diffusers' caches tell
    them apart by their order at most, and give one the values of another.

    Raises:
        ValueError: if there is such a cache.
    """
    for module in unet.modules():
        registry = getattr(module, "_diffusers_hook", None)
        for hook in () if registry is None else registry.hooks:
            if hook in CACHE_HOOKS:
                raise ValueError(
                    f"{CACHE_HOOKS[hook]} does not work with this pipeline: it would mix the "
                    "windows and the guidance passes of a step. Remove its hooks, or load the "
                    "pipeline anew."
                )
