"""Training, stage 1: the style encoder (paper, section 3.1; every number is our choice)."""

import hashlib
from collections import defaultdict
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel

from svp_diffusers.data.style_clips import StyleClip, center_speakers, read_style_clips
from svp_diffusers.errors import MissingDependencyError
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.style.audio_features import load_audio_features
from svp_diffusers.style.expressions import EXPRESSION_SPACES
from svp_diffusers.training.run_folder import RunFolder
from svp_diffusers.training.style_batches import MIN_FRAMES, StyleBatchSampler
from svp_diffusers.training.style_configuration import StyleTrainingConfiguration
from svp_diffusers.training.style_objective import StyleObjective


def train_style(
    configuration: StyleTrainingConfiguration, resume: bool = False, push_to_hub: str | None = None
) -> Path:
    """Train a style encoder, in one process or in many under `accelerate launch` or `torchrun`.

    On CPUs `accelerate launch --cpu` starts one process whatever it is told; for two, say
    `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2`.

    Args:
        configuration: all options.
        resume: go on from the newest checkpoint of `output_dir`, exactly as if never interrupted.
        push_to_hub: repository to push the trained encoder to.

    Returns:
        The folder of the trained encoder: moving average of the weights, a style bank with one
        style per style name of the data, and an `encoder_id` from the weights.

    Raises:
        SVPError: see `RunFolder`, `read_style_clips` and `StyleBatchSampler`; raised before any
            training.
    """
    run = RunFolder(configuration.output_dir, configuration, resume)
    clips = read_training_clips(configuration)
    sampler = StyleBatchSampler(clips, configuration)
    accelerator = make_accelerator(configuration)
    run.start(accelerator)

    encoder = build_encoder(configuration, clips)
    objective = StyleObjective(
        encoder,
        configuration.initial_temperature,
        configuration.min_temperature,
        configuration.kl_weight,
    )
    optimizer = torch.optim.AdamW(
        [
            {"params": objective.encoder.parameters()},
            {"params": [objective.log_scale], "weight_decay": 0.0},
        ],
        lr=configuration.learning_rate,
        weight_decay=configuration.weight_decay,
    )
    scheduler = get_cosine_schedule_with_warmup(
        optimizer, configuration.warmup_steps, configuration.steps
    )
    model, optimizer = accelerator.prepare(objective, optimizer)
    ema = EMAModel(encoder.parameters(), decay=configuration.ema_decay, use_ema_warmup=True)
    ema.to(accelerator.device)
    # The scheduler is stepped once a step whatever the number of processes, so it is not prepared.
    accelerator.register_for_checkpointing(scheduler, ema)
    if configuration.tensorboard:
        accelerator.init_trackers("style")
    step = run.load(accelerator) if resume else 0

    accelerator.print(f"{len(clips)} clips, {accelerator.num_processes} processes, step {step}")

    while step < configuration.steps:
        for part in range(configuration.gradient_accumulation):
            with accelerator.accumulate(model):
                batch = sampler.batch(
                    step * configuration.gradient_accumulation + part,
                    accelerator.process_index,
                    accelerator.num_processes,
                ).to(accelerator.device)
                metrics = model(batch)
                accelerator.backward(metrics["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), configuration.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                objective.bound_temperature()
        scheduler.step()
        ema.step(encoder.parameters())
        step += 1
        if step % configuration.log_every == 0:
            means = accelerator.reduce({k: v.detach() for k, v in metrics.items()}, "mean")
            values = {name: float(value) for name, value in means.items()}
            accelerator.log(values, step)
            if accelerator.is_main_process:
                run.log(step, values)
                print(f"step {step}:", values, flush=True)
        if step % configuration.checkpoint_every == 0 or step == configuration.steps:
            run.save(accelerator, step)

    folder = run.path / "style_encoder"
    if accelerator.is_main_process:
        ema.copy_to(encoder.parameters())
        encoder.to("cpu").eval()
        encoder.register_to_config(encoder_id=fingerprint(encoder))
        fill_style_bank(encoder, clips)
        encoder.save_pretrained(folder)
        if push_to_hub is not None:
            encoder.push_to_hub(push_to_hub)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return folder


def read_training_clips(configuration: StyleTrainingConfiguration) -> list[StyleClip]:
    """The clips of a run, centred if the configuration says so."""
    features = load_audio_features(configuration.audio_features, configuration.audio_encoder)
    clips = read_style_clips(
        configuration.data,
        configuration.data_root,
        configuration.expression_space,
        features,
        split="train",
    )
    return center_speakers(clips) if configuration.expression_centring == "speaker" else clips


def make_accelerator(configuration: StyleTrainingConfiguration) -> Accelerator:
    """The accelerator of a run; raises `MissingDependencyError` without TensorBoard if it is on."""
    try:
        return Accelerator(
            mixed_precision=configuration.mixed_precision,
            gradient_accumulation_steps=configuration.gradient_accumulation,
            log_with="tensorboard" if configuration.tensorboard else None,
            project_dir=configuration.output_dir,
            # Without this, processes started on a machine without accelerator each train alone.
            cpu=not torch.accelerator.is_available(),
        )
    except ImportError as error:
        raise MissingDependencyError(
            "logging to TensorBoard: pip install 'svp-diffusers[tensorboard]'"
        ) from error


def build_encoder(
    configuration: StyleTrainingConfiguration, clips: list[StyleClip]
) -> StyleEncoder:
    """A new encoder, initial weights from the seed, input statistics from the clips."""
    with torch.random.fork_rng():
        torch.manual_seed(configuration.seed)
        encoder = StyleEncoder(
            expression_dim=EXPRESSION_SPACES[configuration.expression_space],
            expression_space=configuration.expression_space,
            expression_centring=configuration.expression_centring,
            audio_dim=configuration.audio_dim,
            audio_features=configuration.audio_features,
            style_dim=configuration.style_dim,
            hidden_dim=configuration.hidden_dim,
            num_layers=configuration.num_layers,
            num_attention_heads=configuration.num_attention_heads,
            max_frames=configuration.max_frames,
            min_frames=MIN_FRAMES,
        )
    expression = torch.cat([torch.from_numpy(clip.expressions.values) for clip in clips])
    encoder.expression_mean, encoder.expression_std = input_statistics(expression)
    heard = [torch.from_numpy(clip.audio) for clip in clips if clip.audio is not None]
    if heard:
        encoder.audio_mean, encoder.audio_std = input_statistics(torch.cat(heard))
    return encoder


def input_statistics(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation `(dim,)` of `(t, dim)`; 1 as that of a constant column."""
    std = values.std(dim=0)
    return values.mean(dim=0), torch.where(std > 1e-4, std, 1.0)


def fingerprint(encoder: StyleEncoder) -> str:
    """Sixteen hexadecimal digits that tell trained weights apart; the bank is no part of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if name != "bank":
            digest.update(name.encode() + tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def fill_style_bank(encoder: StyleEncoder, clips: list[StyleClip]) -> None:
    """Add one style per style name: the Gaussian with the moments of the mixture of its clips.

    So a sample of "happy" may be like any of the speakers, which a barycentre would not give.
    """
    by_style: dict[str, list[StyleDistribution]] = defaultdict(list)
    for clip in clips:
        audio = None if clip.audio is None else torch.from_numpy(clip.audio)[None]
        expression = torch.from_numpy(clip.expressions.values)[None]
        by_style[clip.style].append(encoder(expression, audio)[0])
    for name, styles in sorted(by_style.items()):
        means = torch.stack([style.mean for style in styles])
        variances = torch.stack([style.std for style in styles]).square()
        variance = variances.mean(0) + means.var(0, correction=0)
        encoder.add_style(name, StyleDistribution(means.mean(0), variance.sqrt()))
