"""`svp train ...`: the stages of training, each from one YAML file."""

from pathlib import Path
from typing import Annotated

import typer

from svp_diffusers.cli.printing import say

app = typer.Typer(help="Train the parts of SVP, each from one YAML file.", no_args_is_help=True)

Resume = Annotated[bool, typer.Option(help="Continue from the newest checkpoint.")]
PushToHub = Annotated[str | None, typer.Option(help="Push what was trained there.")]
Public = Annotated[
    bool, typer.Option("--public", help="Create that repository public. Default: private.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what a step takes, take one, keep nothing.")
]


@app.callback()
def callback() -> None:
    """Train the parts of SVP, in several processes with `accelerate launch` or `torchrun`."""


@app.command()
def style(
    config: Annotated[Path, typer.Option(help="YAML file; see StyleTrainingConfiguration.")],
    resume: Resume = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
    data_root: Annotated[
        str | None, typer.Option(help="Folder of the manifest's paths, over the file's data_root.")
    ] = None,
) -> None:
    """Stage 1: learn the probabilistic style prior."""
    from dataclasses import replace

    from svp_diffusers.training.loop.yaml_file import load_configuration
    from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
    from svp_diffusers.training.style.stage import train_style

    configuration = load_configuration(config, StyleTrainingConfiguration)
    if data_root is not None:
        configuration = replace(configuration, data_root=data_root)
    say(train_style(configuration, resume, push_to_hub, private=not public))


@app.command()
def vae(
    config: Annotated[Path, typer.Option(help="YAML file; see VAETrainingConfiguration.")],
    resume: Resume = False,
) -> None:
    """Train a VAE at tiny scale on the frames of a dataset."""
    from svp_diffusers.training.loop.yaml_file import load_configuration
    from svp_diffusers.training.vae.configuration import VAETrainingConfiguration
    from svp_diffusers.training.vae.stage import train_vae

    say(train_vae(load_configuration(config, VAETrainingConfiguration), resume))


@app.command()
def audio(
    config: Annotated[Path, typer.Option(help="YAML file; see AudioTrainingConfiguration.")],
    resume: Resume = False,
) -> None:
    """The audio front-end of a tiny model, from talkers whose lips are known."""
    from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
    from svp_diffusers.training.audio.stage import train_audio
    from svp_diffusers.training.loop.yaml_file import load_configuration

    say(train_audio(load_configuration(config, AudioTrainingConfiguration), resume))


@app.command()
def image(
    config: Annotated[Path, typer.Option(help="YAML file; see ImageTrainingConfiguration.")],
    resume: Resume = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
    dry_run: DryRun = False,
) -> None:
    """Stage 2: learn single frames, without the motion modules."""
    from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration
    from svp_diffusers.training.denoiser.image_stage import train_image
    from svp_diffusers.training.loop.yaml_file import load_configuration

    configuration = load_configuration(config, ImageTrainingConfiguration)
    folder = train_image(configuration, resume, dry_run)
    _finish(folder, push_to_hub or configuration.hub_model_id, public)


@app.command()
def video(
    config: Annotated[Path, typer.Option(help="YAML file; see VideoTrainingConfiguration.")],
    resume: Resume = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
    dry_run: DryRun = False,
) -> None:
    """Stage 3: learn clips, with the motion modules."""
    from svp_diffusers.training.denoiser.configuration import VideoTrainingConfiguration
    from svp_diffusers.training.denoiser.video_stage import train_video
    from svp_diffusers.training.loop.yaml_file import load_configuration

    configuration = load_configuration(config, VideoTrainingConfiguration)
    folder = train_video(configuration, resume, dry_run)
    _finish(folder, push_to_hub or configuration.hub_model_id, public)


@app.command()
def distil(
    config: Annotated[Path, typer.Option(help="YAML file; see DistillationConfiguration.")],
    resume: Resume = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
    dry_run: DryRun = False,
) -> None:
    """Distil guidance into one prediction, where it takes several."""
    from svp_diffusers.training.denoiser.configuration import DistillationConfiguration
    from svp_diffusers.training.denoiser.distillation_stage import train_distillation
    from svp_diffusers.training.loop.yaml_file import load_configuration

    configuration = load_configuration(config, DistillationConfiguration)
    folder = train_distillation(configuration, resume, dry_run)
    _finish(folder, push_to_hub or configuration.hub_model_id, public)


@app.command("style-adapter")
def style_adapter(
    config: Annotated[Path, typer.Option(help="YAML file; see StyleAdapterTrainingConfiguration.")],
    resume: Resume = False,
    push_to_hub: PushToHub = None,
    public: Public = False,
    dry_run: DryRun = False,
) -> None:
    """Give a frozen checkpoint a style: train a style adapter for it."""
    from svp_diffusers.training.denoiser.configuration import StyleAdapterTrainingConfiguration
    from svp_diffusers.training.denoiser.style_adapter_stage import train_style_adapter
    from svp_diffusers.training.loop.yaml_file import load_configuration

    configuration = load_configuration(config, StyleAdapterTrainingConfiguration)
    folder = train_style_adapter(configuration, resume, dry_run)
    _finish(folder, push_to_hub or configuration.hub_model_id, public)


@app.command()
def expression(
    config: Annotated[Path, typer.Option(help="YAML file; see ExpressionTrainingConfiguration.")],
    resume: Resume = False,
) -> None:
    """Train a net that reads expressions from frames or latents of drawn talkers."""
    from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
    from svp_diffusers.training.expression.stage import train_expression
    from svp_diffusers.training.loop.yaml_file import load_configuration

    say(train_expression(load_configuration(config, ExpressionTrainingConfiguration), resume))


@app.command()
def head_motion(
    config: Annotated[Path, typer.Option(help="YAML file; see HeadMotionTrainingConfiguration.")],
    resume: Resume = False,
) -> None:
    """Train how heads move with voice and style, from talkers or clips with head keypoints."""
    from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
    from svp_diffusers.training.head_motion.stage import train_head_motion
    from svp_diffusers.training.loop.yaml_file import load_configuration

    say(train_head_motion(load_configuration(config, HeadMotionTrainingConfiguration), resume))


@app.command()
def tiny(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of all stages.")],
    minutes: Annotated[float, typer.Option(help="How long it may take, about.")] = 240.0,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
) -> None:
    """Make svp-tiny from scratch: data and all stages; run it again to resume."""
    from svp_diffusers.training.svp_tiny.stages import train_tiny

    def report(stage: str) -> None:
        say(f"== {stage}")

    say(train_tiny(output, minutes, seed, workers, report))


def _finish(folder: Path | None, repository: str | None, public: bool) -> None:
    """Print the folder of what was trained, which a dry run leaves none of, and push it."""
    from accelerate import PartialState

    from svp_diffusers.hub.push import push_folder

    if folder is None:
        return
    say(folder)
    if repository is not None and PartialState().is_main_process:
        say(push_folder(folder, repository, private=not public))
