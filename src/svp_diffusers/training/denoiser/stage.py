"""What training stages 2 and 3 share: a pipeline folder in, a pipeline folder out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from peft import get_peft_model_state_dict

from svp_diffusers.checkpoints.loading import (
    find_checkpoint,
    load_network,
    load_style_encoder,
    name_checkpoint,
    save_checkpoint,
)
from svp_diffusers.checkpoints.precision import DTYPES
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.clip_sampler import ClipSampler
from svp_diffusers.training.denoiser.configuration import (
    DenoisingConfiguration,
    DistillationConfiguration,
    StyleAdapterTrainingConfiguration,
    for_validation,
)
from svp_diffusers.training.denoiser.distillation import (
    DistillationBatches,
    DistillationObjective,
    make_student,
)
from svp_diffusers.training.denoiser.objective import (
    TRAINED_NETWORKS,
    DenoisingObjective,
    check_sync,
    leave_style_out,
)
from svp_diffusers.training.loop.estimate import GIB, estimate_step, measure_peak, trace_step
from svp_diffusers.training.loop.loop import make_accelerator, train
from svp_diffusers.training.loop.run_folder import DryRun, RunFolder
from svp_diffusers.training.loop.sharding import is_sharded

LARGE = 100_000_000
"""Weights above which a run says what a step will take."""


def train_denoiser(
    configuration: DenoisingConfiguration,
    resume: bool,
    consecutive: bool,
    prepare: Callable[[DenoisingObjective], None] = lambda objective: None,
    dry_run: bool = False,
) -> Path | None:
    """Train the denoising half of a pipeline.

    Args:
        configuration: of the stage.
        resume: continue from the newest checkpoint of `output_dir`.
        consecutive: train on neighbouring frames, with the motion modules, which are enabled from
            then on; else on any, without them.
        prepare: freezes what is not trained.
        dry_run: print what a step will take, take one, print what it took, and keep nothing.

    Returns:
        The folder `pipeline` of `output_dir`, or `lora` or `style_adapter` with what was trained
        alone; None of a dry run.

    Raises:
        SVPError: see `RunFolder`, `find_checkpoint` and `DenoisingBatches`; before any training.
    """
    if dry_run:
        configuration = replace(configuration, steps=1, log_every=1, validate_every=0, tracker=None)
    run = DryRun() if dry_run else RunFolder(configuration.output_dir, configuration, resume)
    pipeline = _load(configuration)
    batches, held_out = read_batches(pipeline, configuration, consecutive)
    expression_encoder = None
    if configuration.expression_encoder is not None:
        expression_encoder = load_network(
            ExpressionEncoder, configuration.expression_encoder, "expression encoder"
        )
    accelerator = make_accelerator(configuration)
    run.start(accelerator)
    example = batches(0, 0, 1)
    check_sync(configuration, example)
    judged, sampler = [held_out(0, 0, 1)], ClipSampler(pipeline, held_out)
    if isinstance(configuration, DistillationConfiguration):
        objective: DenoisingObjective = DistillationObjective(
            pipeline, configuration, judged, sampler
        )
    else:
        objective = DenoisingObjective(pipeline, configuration, expression_encoder, judged, sampler)
    enabled = pipeline.unet.config.motion_modules_enabled
    pipeline.unet.enable_motion_modules(consecutive)
    prepare(objective)
    if configuration.style_dropout == 1:
        leave_style_out(pipeline.unet)
    traced = trace_step(objective, example)
    for weight in traced.unused:  # processes that train together would wait for their gradients
        weight.requires_grad_(False)
    if dry_run or sum(weight.numel() for weight in objective.parameters()) > LARGE:
        has_average = bool(configuration.ema_decay)
        estimate = estimate_step(
            objective, traced, has_average, accelerator.device, configuration.optimizer
        )
        accelerator.print(estimate, flush=True)
    start = time.perf_counter()
    weights = train(objective, batches, configuration, run, accelerator)
    if dry_run:
        peak, seconds = measure_peak(accelerator.device) / GIB, time.perf_counter() - start
        accelerator.print(f"measured: {peak:.2f} GiB at the peak, {seconds:.2g} s")
        return None
    pipeline.unet.enable_motion_modules(consecutive or enabled)
    folder = run.path / configuration.result
    if not accelerator.is_main_process:
        return folder
    if configuration.lora_rank:
        _save_lora(pipeline, configuration, weights, folder)
        return folder
    if is_sharded(accelerator):
        pipeline = _rebuild(pipeline, configuration, weights)
    else:
        objective.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if isinstance(configuration, StyleAdapterTrainingConfiguration):
        _save_style_adapter(pipeline, configuration, folder)
    else:
        save_checkpoint(pipeline, folder)
    return folder


def _load(configuration: DenoisingConfiguration) -> SVPTalkingHeadPipeline:
    pipeline: SVPTalkingHeadPipeline = SVPTalkingHeadPipeline.from_pretrained(
        str(find_checkpoint(configuration.pipeline)),
        # The style encoder is not trained, and is the one that the dataset was cached with.
        dtype={"default": DTYPES[configuration.weights_dtype], "style_encoder": torch.float32},
        disable_mmap=True,  # else what is copied to another layout stays in memory as a file too
    )
    if isinstance(configuration, DistillationConfiguration):
        student = make_student(pipeline.unet, configuration.guidance_ranges)
        pipeline.register_modules(unet=student)
    if isinstance(configuration, StyleAdapterTrainingConfiguration) and configuration.style_encoder:
        encoder = load_style_encoder(configuration.style_encoder)
        given, taken = encoder.config.style_dim, pipeline.unet.config.style_dim
        if given != taken:
            raise ConfigurationError(
                f"the style encoder {configuration.style_encoder} gives {given} numbers, the UNet "
                f"of {configuration.pipeline} takes {taken}; train one with style_dim {taken}"
            )
        pipeline.register_modules(style_encoder=encoder)
    return pipeline


def read_batches(
    pipeline: SVPTalkingHeadPipeline, configuration: DenoisingConfiguration, consecutive: bool
) -> tuple[DenoisingBatches, DenoisingBatches]:
    """Batches to train on, and clips of the validation split to judge on.

    Args:
        pipeline: its style encoder gives each clip its style.
        configuration: of the stage.
        consecutive: train on neighbouring frames, else on any; what is judged are always clips.

    Raises:
        SVPError: see `DenoisingBatches`.
    """
    pad_frames = pipeline.audio_projector.config.get("num_pad_frames")
    kind = DenoisingBatches
    if isinstance(configuration, DistillationConfiguration):
        kind = DistillationBatches
    training, judging = (
        kind(
            ClipDataset(configuration.data, split),
            pipeline.style_encoder,
            each,
            pad_frames,
            neighbours,
        )
        for split, each, neighbours in (
            ("train", configuration, consecutive),
            ("validation", for_validation(configuration), True),
        )
    )
    return training, judging


def _save_lora(
    pipeline: SVPTalkingHeadPipeline,
    configuration: DenoisingConfiguration,
    weights: Mapping[str, torch.Tensor],
    folder: Path,
) -> None:
    """Save the LoRA, and beside it what its card says (see `CardDescription`)."""
    layers = get_peft_model_state_dict(pipeline.unet, select_weights(weights, "unet"))
    card = {
        "base_model": name_checkpoint(configuration.pipeline),
        "limits": "it is for the speakers that it was trained on, and for its base model alone.",
        "training": f"a LoRA of rank {configuration.lora_rank}, {configuration.steps} steps.",
    }
    with atomic_folder(folder) as temporary:
        # Without it a loader takes the rank for alpha.
        metadata = pipeline.unet.peft_config["default"].to_dict()
        pipeline.save_lora_weights(
            temporary, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata
        )
        (temporary / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")


def _save_style_adapter(
    pipeline: SVPTalkingHeadPipeline,
    configuration: StyleAdapterTrainingConfiguration,
    folder: Path,
) -> None:
    """Save the adapter, and beside it what its card says (see `CardDescription`)."""
    base = name_checkpoint(configuration.pipeline)
    card = {"training": f"the style of a frozen checkpoint, {configuration.steps} steps."}
    with atomic_folder(folder) as temporary:
        pipeline.save_style_adapter(temporary, base_model=base)
        (temporary / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")


def _rebuild(
    sharded: SVPTalkingHeadPipeline,
    configuration: DenoisingConfiguration,
    weights: Mapping[str, torch.Tensor],
) -> SVPTalkingHeadPipeline:
    """The pipeline that training started from, with trained weights: FSDP leaves its own classes
    and a part of the weights in the one that was trained."""
    pipeline = _load(configuration)
    for name in TRAINED_NETWORKS:
        getattr(pipeline, name).load_state_dict(select_weights(weights, name))
    pipeline.unet.enable_motion_modules(sharded.unet.config.motion_modules_enabled)
    return pipeline


def select_weights(weights: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The weights of the network `name` of an objective, by their names in the network."""
    beginning = f"{name}."
    return {
        key.removeprefix(beginning): weight
        for key, weight in weights.items()
        if key.startswith(beginning)
    }
