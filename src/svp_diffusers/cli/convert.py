"""`svp convert`: published checkpoints to ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

app = typer.Typer(help="Turn published checkpoints into ours.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the checkpoint to write.")]
AudioEncoder = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id. Default: facebook/wav2vec2-base-960h."),
]


@app.command("v-express")
def convert_v_express(
    denoising_unet: Annotated[Path, typer.Option(help="denoising_unet.bin")],
    reference_net: Annotated[Path, typer.Option(help="reference_net.bin")],
    kps_guider: Annotated[Path, typer.Option(help="v_kps_guider.bin")],
    audio_projection: Annotated[Path, typer.Option(help="audio_projection.bin")],
    sd_config: Annotated[Path, typer.Option(help="unet/config.json of Stable Diffusion 1.5")],
    output: Output,
    motion_module: Annotated[
        Path | None, typer.Option(help="motion_module.bin, if not in the denoising UNet.")
    ] = None,
    motion_heads: Annotated[int, typer.Option(help="Heads of the motion modules.")] = 8,
    dim_head: Annotated[int, typer.Option(help="Head size of the audio projection.")] = 64,
    vae: Annotated[
        str | None, typer.Option(help="Folder or Hub id. Default: stabilityai/sd-vae-ft-mse.")
    ] = None,
    audio_encoder: AudioEncoder = None,
) -> None:
    """Convert the published weights of V-Express; their non-commercial licence stays with them."""
    from svp_diffusers.conversion.assembly import (
        DEFAULT_AUDIO_ENCODER,
        DEFAULT_VAE,
        VExpressFiles,
        assemble_v_express,
    )

    _check_folder(output)
    files = VExpressFiles(
        denoising_unet=denoising_unet,
        reference_net=reference_net,
        kps_guider=kps_guider,
        audio_projection=audio_projection,
        sd_config=sd_config,
        motion_module=motion_module,
        motion_heads=motion_heads,
        dim_head=dim_head,
    )
    _save(
        assemble_v_express(files, vae or DEFAULT_VAE, audio_encoder or DEFAULT_AUDIO_ENCODER),
        output,
    )


@app.command("sd15")
def convert_sd15(
    stable_diffusion: Annotated[str, typer.Argument(help="Folder or Hub id.")],
    output: Output,
    audio_encoder: AudioEncoder = None,
) -> None:
    """Start a model to be trained from Stable Diffusion 1.5."""
    _start(stable_diffusion, None, audio_encoder, output)


@app.command("animatediff")
def convert_animatediff(
    stable_diffusion: Annotated[str, typer.Argument(help="Folder or Hub id.")],
    motion_adapter: Annotated[
        str, typer.Argument(help="Folder or Hub id of a diffusers adapter, or original weights.")
    ],
    output: Output,
    audio_encoder: AudioEncoder = None,
) -> None:
    """Start a model to be trained from Stable Diffusion 1.5 and AnimateDiff's motion modules."""
    _start(stable_diffusion, motion_adapter, audio_encoder, output)


def _start(
    stable_diffusion: str, motion_adapter: str | None, audio_encoder: str | None, output: Path
) -> None:
    from svp_diffusers.conversion.assembly import (
        DEFAULT_AUDIO_ENCODER,
        assemble_from_stable_diffusion,
    )

    _check_folder(output)
    _save(
        assemble_from_stable_diffusion(
            stable_diffusion, motion_adapter, audio_encoder or DEFAULT_AUDIO_ENCODER
        ),
        output,
    )


def _check_folder(output: Path) -> None:
    from svp_diffusers.errors import OutputError

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} exists and is not an empty folder; name another.")


def _save(pipeline: SVPTalkingHeadPipeline, output: Path) -> None:
    from svp_diffusers.checkpoints.loading import save_checkpoint

    save_checkpoint(pipeline, output)
    typer.echo(f"{output}: saved; `svp info {output}` shows what is in it.")
