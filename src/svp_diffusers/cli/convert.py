"""`svp convert`: published checkpoints to ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svp_diffusers.cli.printing import say

if TYPE_CHECKING:
    from svp_diffusers.conversion.published import Published
    from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

app = typer.Typer(help="Turn published checkpoints into ours.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the checkpoint to write.")]
FromHub = Annotated[
    bool, typer.Option("--from-hub", help="Fetch what is not given from the Hub, to its cache.")
]
Repository = Annotated[str | None, typer.Option(help="Another repository on the Hub.")]
Revision = Annotated[str | None, typer.Option(help="A commit, tag or branch of it.")]
Vae = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id. Default: the family's, or stabilityai/sd-vae-ft-mse."),
]
UnetConfig = Annotated[
    Path | None, typer.Option(help="config.json of another UNet than Stable Diffusion 1.5's.")
]
MotionHeads = Annotated[int, typer.Option(help="Heads of the motion modules.")]
Dtype = Annotated[str, typer.Option(help="Of the weights: float32, float16 or bfloat16.")]
AudioEncoder = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id. Default: facebook/wav2vec2-base-960h."),
]


@app.command("v-express")
def convert_v_express(
    output: Output,
    from_hub: FromHub = False,
    denoising_unet: Annotated[Path | None, typer.Option(help="denoising_unet.bin")] = None,
    reference_net: Annotated[Path | None, typer.Option(help="reference_net.bin")] = None,
    kps_guider: Annotated[Path | None, typer.Option(help="v_kps_guider.bin")] = None,
    audio_projection: Annotated[Path | None, typer.Option(help="audio_projection.bin")] = None,
    motion_module: Annotated[
        Path | None, typer.Option(help="motion_module.bin, if not in the denoising UNet.")
    ] = None,
    sd_config: Annotated[
        Path | None, typer.Option(help="unet/config.json, if not Stable Diffusion 1.5's.")
    ] = None,
    motion_heads: MotionHeads = 8,
    dim_head: Annotated[int, typer.Option(help="Head size of the audio projection.")] = 64,
    vae: Vae = None,
    audio_encoder: AudioEncoder = None,
    dtype: Dtype = "float32",
    repository: Repository = None,
    revision: Revision = None,
) -> None:
    """Convert the published weights of V-Express; their non-commercial licence stays with them."""
    from svp_diffusers.checkpoints.loading import DTYPES
    from svp_diffusers.conversion.assembly import DEFAULT_AUDIO_ENCODER, DEFAULT_VAE
    from svp_diffusers.conversion.v_express import PUBLISHED, VExpressFiles, write_v_express
    from svp_diffusers.hub.converted_cards import render_converted_card

    _check_folder(output)
    _check_dtype(dtype)
    given = {
        "denoising_unet": denoising_unet,
        "reference_net": reference_net,
        "kps_guider": kps_guider,
        "audio_projection": audio_projection,
    }
    if from_hub or motion_module is not None:  # by hand it may be a part of the denoising UNet
        given["motion_module"] = motion_module
    paths, source = _find_files(given, PUBLISHED, from_hub, repository, revision)
    files = VExpressFiles(
        **{name: paths[name] for name in given},
        vae=vae or DEFAULT_VAE,
        audio_encoder=audio_encoder or DEFAULT_AUDIO_ENCODER,
        sd_config=sd_config,
        motion_heads=motion_heads,
        dim_head=dim_head,
    )
    card = render_converted_card("v-express", output.name, source)
    write_v_express(files, output, card, DTYPES[dtype])
    _report(output, "a portrait and speech to a video; style is untrained")


@app.command("echomimic")
def convert_echomimic(
    output: Output,
    from_hub: FromHub = False,
    denoising_unet: Annotated[Path | None, typer.Option(help="denoising_unet.pth")] = None,
    motion_module: Annotated[Path | None, typer.Option(help="motion_module.pth")] = None,
    reference_unet: Annotated[Path | None, typer.Option(help="reference_unet.pth")] = None,
    face_locator: Annotated[Path | None, typer.Option(help="face_locator.pth")] = None,
    whisper: Annotated[Path | None, typer.Option(help="whisper_tiny.pt")] = None,
    vae: Vae = None,
    accelerated: Annotated[
        bool, typer.Option(help="The _acc files: 6 steps, no guidance.")
    ] = False,
    dtype: Dtype = "float32",
    repository: Repository = None,
    revision: Revision = None,
    unet_config: UnetConfig = None,
    motion_heads: MotionHeads = 8,
) -> None:
    """Convert EchoMimic v1 (Apache-2.0): a portrait speaks, head and face move."""
    from svp_diffusers.checkpoints.loading import DTYPES
    from svp_diffusers.conversion.assembly import DEFAULT_VAE
    from svp_diffusers.conversion.echomimic import (
        ACCELERATED,
        PUBLISHED,
        EchoMimicFiles,
        write_echomimic,
    )
    from svp_diffusers.hub.converted_cards import render_converted_card

    _check_folder(output)
    _check_dtype(dtype)
    given = {
        "denoising_unet": denoising_unet,
        "motion_module": motion_module,
        "reference_unet": reference_unet,
        "face_locator": face_locator,
        "whisper": whisper,
    }
    published = PUBLISHED
    if accelerated:
        published = replace(published, files={**published.files, **ACCELERATED})
    paths, source = _find_files(given, published, from_hub, repository, revision)
    vae = vae or _folder_of(paths, "vae", DEFAULT_VAE)
    files = EchoMimicFiles(
        **{name: paths[name] for name in given},
        vae=vae,
        unet_config=unet_config,
        motion_heads=motion_heads,
    )
    card = render_converted_card("echomimic", output.name, source)
    write_echomimic(files, output, card, accelerated, DTYPES[dtype])
    _report(output, "a portrait and speech to a video; style is untrained")


@app.command("hallo")
def convert_hallo(
    output: Output,
    from_hub: FromHub = False,
    net: Annotated[Path | None, typer.Option(help="net.pth")] = None,
    wav2vec2: Annotated[
        str | None, typer.Option(help="Folder or Hub id of facebook/wav2vec2-base-960h.")
    ] = None,
    vae: Vae = None,
    hallo2: Annotated[bool, typer.Option("--hallo2", help="Hallo2's repository.")] = False,
    dtype: Dtype = "float32",
    repository: Repository = None,
    revision: Revision = None,
    unet_config: UnetConfig = None,
    motion_heads: MotionHeads = 8,
) -> None:
    """Convert Hallo or Hallo2 (MIT): a portrait speaks, head and face move."""
    from svp_diffusers.checkpoints.loading import DTYPES
    from svp_diffusers.conversion.assembly import DEFAULT_AUDIO_ENCODER, DEFAULT_VAE
    from svp_diffusers.conversion.hallo import PUBLISHED, PUBLISHED_2, HalloFiles, write_hallo
    from svp_diffusers.hub.converted_cards import render_converted_card

    _check_folder(output)
    _check_dtype(dtype)
    published = PUBLISHED_2 if hallo2 else PUBLISHED
    paths, source = _find_files({"net": net}, published, from_hub, repository, revision)
    files = HalloFiles(
        net=paths["net"],
        wav2vec2=wav2vec2 or _folder_of(paths, "wav2vec2", DEFAULT_AUDIO_ENCODER),
        vae=vae or _folder_of(paths, "vae", DEFAULT_VAE),
        unet_config=unet_config,
        motion_heads=motion_heads,
    )
    card = render_converted_card("hallo", output.name, source)
    write_hallo(files, output, card, DTYPES[dtype])
    _report(output, "a portrait and speech to a video; style is untrained")


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


def _find_files(
    given: dict[str, Path | None],
    published: Published,
    from_hub: bool,
    repository: str | None,
    revision: str | None,
) -> tuple[dict[str, Path], str]:
    """The path of each file, given by hand or fetched from the Hub, and where they came from."""
    from svp_diffusers.conversion.published import describe_files, fetch_files, list_files
    from svp_diffusers.errors import ConfigurationError

    by_hand = {name: path for name, path in given.items() if path is not None}
    if not from_hub:
        missing = [f"--{name.replace('_', '-')}" for name in given if name not in by_hand]
        if missing:
            raise ConfigurationError(
                f"{', '.join(missing)} missing: give the files, or --from-hub to fetch them from "
                f"{published.repository}."
            )
        return by_hand, "given by hand"
    published = replace(
        published,
        repository=repository or published.repository,
        revision=revision or published.revision,
        files={name: path for name, path in published.files.items() if name not in by_hand},
    )
    commit, sizes = list_files(published)
    say(describe_files(published, sizes), err=True)
    return {**by_hand, **fetch_files(published, commit)}, f"{published.repository} at {commit}"


def _folder_of(paths: dict[str, Path], name: str, default: str) -> str:
    """The folder of a file that was fetched, or where else it is found."""
    return str(paths[name].parent) if name in paths else default


def _check_dtype(dtype: str) -> None:
    from svp_diffusers.checkpoints.loading import DTYPES
    from svp_diffusers.errors import ConfigurationError

    if dtype not in DTYPES:
        raise ConfigurationError(f"--dtype is one of {', '.join(DTYPES)}; got {dtype!r}.")


def _report(output: Path, does: str) -> None:
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    say(
        f"{output}: saved, {size / 1e9:.2f} GB ({does}). Next:\n"
        f"  svp generate portrait.png speech.wav --model {output} -o video.mp4"
    )


def _check_folder(output: Path) -> None:
    from svp_diffusers.errors import OutputError

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} exists and is not an empty folder; name another.")


def _save(pipeline: SVPTalkingHeadPipeline, output: Path) -> None:
    from svp_diffusers.checkpoints.loading import save_checkpoint

    save_checkpoint(pipeline, output)
    say(f"{output}: saved; `svp info {output}` shows what is in it.")
