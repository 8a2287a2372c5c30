"""Training, stage 1: the style encoder (paper, section 3.1; every number is our choice)."""

from collections import defaultdict
from pathlib import Path

import torch

from svp_diffusers.data.style_clips import StyleClip, center_speakers, read_style_clips
from svp_diffusers.data.styles import fingerprint_style_encoder
from svp_diffusers.expression.track import EXPRESSION_SPACES
from svp_diffusers.media.output import atomic_folder
from svp_diffusers.models.style_encoder_svp import StyleDistribution, StyleEncoder
from svp_diffusers.speech.features import load_audio_features
from svp_diffusers.training.loop.loop import make_accelerator, train
from svp_diffusers.training.loop.run_folder import RunFolder
from svp_diffusers.training.style.batches import MIN_FRAMES, StyleBatchSampler
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
from svp_diffusers.training.style.objective import StyleObjective


def train_style(
    configuration: StyleTrainingConfiguration,
    resume: bool = False,
    push_to_hub: str | None = None,
    private: bool = True,
) -> Path:
    """Train a style encoder, in one process or in many under `accelerate launch` or `torchrun`.

    Args:
        configuration: all options.
        resume: continue from the newest checkpoint of `output_dir`, as if never interrupted.
        push_to_hub: repository to push the trained encoder to.
        private: how that repository is created.

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
    accelerator.print(f"{len(clips)} clips", flush=True)
    train(objective, sampler.batch, configuration, run, accelerator)
    folder = run.path / "style_encoder"
    if accelerator.is_main_process:
        encoder.register_to_config(encoder_id=fingerprint_style_encoder(encoder))
        fill_style_bank(encoder, clips)
        with atomic_folder(folder) as temporary:
            encoder.save_pretrained(temporary)
        if push_to_hub is not None:
            encoder.push_to_hub(push_to_hub, private=private)
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
