"""`svp convert`: published checkpoints to ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svp_diffusers.cli.converting import check_folder, choose_published, convert_files, folder_of
from svp_diffusers.cli.printing import say

if TYPE_CHECKING:
    import torch

app = typer.Typer(help="Turn published checkpoints into ours.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the checkpoint to write.")]
FromHub = Annotated[
    bool, typer.Option("--from-hub", help="Fetch what is not given from the Hub, to its cache.")
]
Repository = Annotated[str | None, typer.Option(help="Another repository on the Hub.")]
Revision = Annotated[
    str | None,
    typer.Option(help="A commit, tag or branch of it. Default: the commit that is known here."),
]
DenoisingUnet = Annotated[Path | None, typer.Option(help="denoising_unet.pth")]
MotionModule = Annotated[Path | None, typer.Option(help="motion_module.pth")]
ReferenceUnet = Annotated[Path | None, typer.Option(help="reference_unet.pth")]
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
    from svp_diffusers.conversion.assembly import DEFAULT_AUDIO_ENCODER, DEFAULT_VAE
    from svp_diffusers.conversion.v_express import PUBLISHED, VExpressFiles, write_v_express

    given = {
        "denoising_unet": denoising_unet,
        "reference_net": reference_net,
        "kps_guider": kps_guider,
        "audio_projection": audio_projection,
    }
    if from_hub or motion_module is not None:  # by hand it may be a part of the denoising UNet
        given["motion_module"] = motion_module

    def write(paths: dict[str, Path], card: str, dtype: torch.dtype) -> None:
        files = VExpressFiles(
            **{name: paths[name] for name in given},
            vae=vae or DEFAULT_VAE,
            audio_encoder=audio_encoder or DEFAULT_AUDIO_ENCODER,
            sd_config=sd_config,
            motion_heads=motion_heads,
            dim_head=dim_head,
        )
        write_v_express(files, output, card, dtype)

    published = choose_published(PUBLISHED, repository, revision)
    convert_files("v-express", output, dtype, given, published, from_hub, write)


@app.command("echomimic")
def convert_echomimic(
    output: Output,
    from_hub: FromHub = False,
    denoising_unet: DenoisingUnet = None,
    motion_module: MotionModule = None,
    reference_unet: ReferenceUnet = None,
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
    from svp_diffusers.conversion.assembly import DEFAULT_VAE
    from svp_diffusers.conversion.echomimic import (
        PUBLISHED,
        PUBLISHED_ACCELERATED,
        EchoMimicFiles,
        write_echomimic,
    )

    given = {
        "denoising_unet": denoising_unet,
        "motion_module": motion_module,
        "reference_unet": reference_unet,
        "face_locator": face_locator,
        "whisper": whisper,
    }

    def write(paths: dict[str, Path], card: str, dtype: torch.dtype) -> None:
        files = EchoMimicFiles(
            **{name: paths[name] for name in given},
            vae=vae or folder_of(paths, "vae", DEFAULT_VAE),
            unet_config=unet_config,
            motion_heads=motion_heads,
        )
        write_echomimic(files, output, card, accelerated, dtype)

    published = PUBLISHED_ACCELERATED if accelerated else PUBLISHED
    published = choose_published(published, repository, revision)
    convert_files("echomimic", output, dtype, given, published, from_hub, write)


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
    from svp_diffusers.conversion.assembly import DEFAULT_AUDIO_ENCODER, DEFAULT_VAE
    from svp_diffusers.conversion.hallo import PUBLISHED, PUBLISHED_2, HalloFiles, write_hallo

    def write(paths: dict[str, Path], card: str, dtype: torch.dtype) -> None:
        files = HalloFiles(
            net=paths["net"],
            wav2vec2=wav2vec2 or folder_of(paths, "wav2vec2", DEFAULT_AUDIO_ENCODER),
            vae=vae or folder_of(paths, "vae", DEFAULT_VAE),
            unet_config=unet_config,
            motion_heads=motion_heads,
        )
        write_hallo(files, output, card, dtype)

    published = choose_published(PUBLISHED_2 if hallo2 else PUBLISHED, repository, revision)
    convert_files("hallo", output, dtype, {"net": net}, published, from_hub, write)


@app.command("animate-anyone")
def convert_animate_anyone(
    output: Output,
    from_hub: FromHub = False,
    denoising_unet: DenoisingUnet = None,
    motion_module: MotionModule = None,
    reference_unet: ReferenceUnet = None,
    pose_guider: Annotated[Path | None, typer.Option(help="pose_guider.pth")] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id. Default: lambdalabs/sd-image-variations-diffusers."),
    ] = None,
    vae: Vae = None,
    audio_encoder: AudioEncoder = None,
    dtype: Dtype = "float32",
    repository: Repository = None,
    revision: Revision = None,
    unet_config: UnetConfig = None,
    motion_heads: MotionHeads = 8,
) -> None:
    """Convert Moore-AnimateAnyone: a portrait moves as pictures of poses do; nothing is heard."""
    from svp_diffusers.conversion.animate_anyone import (
        IMAGE_ENCODER,
        PUBLISHED,
        AnimateAnyoneFiles,
        write_animate_anyone,
    )
    from svp_diffusers.conversion.assembly import DEFAULT_AUDIO_ENCODER, DEFAULT_VAE

    given = {
        "denoising_unet": denoising_unet,
        "motion_module": motion_module,
        "reference_unet": reference_unet,
        "pose_guider": pose_guider,
    }

    def write(paths: dict[str, Path], card: str, dtype: torch.dtype) -> None:
        files = AnimateAnyoneFiles(
            **{name: paths[name] for name in given},
            image_encoder=image_encoder or IMAGE_ENCODER,
            vae=vae or DEFAULT_VAE,
            audio_encoder=audio_encoder or DEFAULT_AUDIO_ENCODER,
            unet_config=unet_config,
            motion_heads=motion_heads,
        )
        write_animate_anyone(files, output, card, dtype)

    published = choose_published(PUBLISHED, repository, revision)
    convert_files("animate-anyone", output, dtype, given, published, from_hub, write)


@app.command("latentsync")
def convert_latentsync(
    output: Output,
    from_hub: FromHub = False,
    unet: Annotated[Path | None, typer.Option(help="latentsync_unet.pt")] = None,
    whisper: Annotated[Path | None, typer.Option(help="whisper/tiny.pt")] = None,
    vae: Vae = None,
    release: Annotated[str, typer.Option(help="1.6, of 512 pixels, or 1.5, of 256.")] = "1.6",
    dtype: Dtype = "float32",
    repository: Repository = None,
    revision: Revision = None,
    unet_config: UnetConfig = None,
    motion_heads: MotionHeads = 8,
) -> None:
    """Convert LatentSync (openrail++): the lips of a video say other speech."""
    from svp_diffusers.conversion.assembly import DEFAULT_VAE
    from svp_diffusers.conversion.latentsync import RELEASES, LatentSyncFiles, write_latentsync
    from svp_diffusers.errors import ConfigurationError

    if release not in RELEASES:
        raise ConfigurationError(f"--release is one of {', '.join(RELEASES)}; got {release!r}.")
    given = {"unet": unet, "whisper": whisper}

    def write(paths: dict[str, Path], card: str, dtype: torch.dtype) -> None:
        files = LatentSyncFiles(
            **{name: paths[name] for name in given},
            vae=vae or DEFAULT_VAE,
            unet_config=unet_config,
            motion_heads=motion_heads,
        )
        write_latentsync(files, output, card, release, dtype)

    published = choose_published(RELEASES[release], repository, revision)
    convert_files("latentsync", output, dtype, given, published, from_hub, write)


@app.command("aniportrait")
def convert_aniportrait(
    output: Output,
    from_hub: FromHub = False,
    denoising_unet: DenoisingUnet = None,
    motion_module: MotionModule = None,
    reference_unet: ReferenceUnet = None,
    vae: Vae = None,
    audio_encoder: AudioEncoder = None,
    dtype: Dtype = "float32",
    repository: Repository = None,
    revision: Revision = None,
    unet_config: UnetConfig = None,
    motion_heads: MotionHeads = 8,
) -> None:
    """Start a model to be trained from the UNets of AniPortrait (Apache-2.0)."""
    from svp_diffusers.conversion.animate_anyone import UNetFiles
    from svp_diffusers.conversion.aniportrait import PUBLISHED, write_aniportrait
    from svp_diffusers.conversion.assembly import DEFAULT_AUDIO_ENCODER, DEFAULT_VAE

    given = {
        "denoising_unet": denoising_unet,
        "motion_module": motion_module,
        "reference_unet": reference_unet,
    }

    def write(paths: dict[str, Path], card: str, dtype: torch.dtype) -> None:
        files = UNetFiles(
            **{name: paths[name] for name in given},
            vae=vae or DEFAULT_VAE,
            audio_encoder=audio_encoder or DEFAULT_AUDIO_ENCODER,
            unet_config=unet_config,
            motion_heads=motion_heads,
        )
        write_aniportrait(files, output, card, dtype)

    published = choose_published(PUBLISHED, repository, revision)
    convert_files("aniportrait", output, dtype, given, published, from_hub, write)


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
    from svp_diffusers.checkpoints.loading import save_checkpoint
    from svp_diffusers.conversion.assembly import (
        DEFAULT_AUDIO_ENCODER,
        assemble_from_stable_diffusion,
    )

    check_folder(output)
    pipeline = assemble_from_stable_diffusion(
        stable_diffusion, motion_adapter, audio_encoder or DEFAULT_AUDIO_ENCODER
    )
    save_checkpoint(pipeline, output)
    say(f"{output}: saved; `svp info {output}` shows what is in it.")
