"""`svp generate`: a portrait and a recording to a video."""

from pathlib import Path
from typing import Annotated

import typer

PORTRAIT, STYLE, HEAD = "Portrait", "Style", "Head motion"
DIFFUSION, MACHINE = "Diffusion", "Machine"


def generate(
    image: Annotated[Path, typer.Argument(help="Picture of the portrait.")],
    audio: Annotated[Path, typer.Argument(help="Speech, in any file that has sound.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The video to write, .mp4.")],
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of a checkpoint. Default: svp-tiny, for drawn people."),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            help="A name of the bank, from_audio, a style file, a clip, or a schedule such as "
            "0:neutral,2.5:happy. Default: drawn from the prior.",
            rich_help_panel=STYLE,
        ),
    ] = None,
    style_temperature: Annotated[
        float, typer.Option(help="0 is the style's mean.", rich_help_panel=STYLE)
    ] = 1.0,
    num_styles: Annotated[
        int,
        typer.Option(
            help="Performances of the line; several are also written side by side.",
            rich_help_panel=STYLE,
        ),
    ] = 1,
    face_landmarker: Annotated[
        Path | None,
        typer.Option(
            help="MediaPipe's face_landmarker.task, to take a style from a video.",
            rich_help_panel=STYLE,
        ),
    ] = None,
    detect_face: Annotated[
        bool,
        typer.Option(
            "--detect-face",
            help="Crop around the face that InsightFace finds. Default: the picture's middle.",
            rich_help_panel=PORTRAIT,
        ),
    ] = False,
    face_index: Annotated[
        int | None,
        typer.Option(help="Which face; 0 is the largest.", rich_help_panel=PORTRAIT),
    ] = None,
    bbox: Annotated[
        str | None,
        typer.Option(
            help="The face by hand: left,top,right,bottom in pixels.", rich_help_panel=PORTRAIT
        ),
    ] = None,
    portrait_keypoints: Annotated[
        Path | None,
        typer.Option(
            help="The portrait's head keypoints by hand, .npy in pixels.", rich_help_panel=PORTRAIT
        ),
    ] = None,
    head_video: Annotated[
        Path | None,
        typer.Option(help="Take over the head's motion of a video.", rich_help_panel=HEAD),
    ] = None,
    head_keypoints: Annotated[
        Path | None,
        typer.Option(help="Take over the motion of keypoints, .npy.", rich_help_panel=HEAD),
    ] = None,
    head_keypoints_fps: Annotated[
        str, typer.Option(help="Frame rate of those keypoints.", rich_help_panel=HEAD)
    ] = "25",
    seed: Annotated[int, typer.Option(help="Of style and noise.", rich_help_panel=DIFFUSION)] = 0,
    steps: Annotated[
        int | None,
        typer.Option(help="Denoising steps. Default: the checkpoint's.", rich_help_panel=DIFFUSION),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side in pixels. Default: the checkpoint's.", rich_help_panel=DIFFUSION),
    ] = None,
    fps: Annotated[
        str,
        typer.Option(help="Frames a second: 25, 23.976, 30000/1001.", rich_help_panel=DIFFUSION),
    ] = "25",
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            help="On all conditions; 1 is none. Default: the checkpoint's.",
            rich_help_panel=DIFFUSION,
        ),
    ] = None,
    audio_guidance_scale: Annotated[
        float | None, typer.Option(help="On the audio by itself.", rich_help_panel=DIFFUSION)
    ] = None,
    style_guidance_scale: Annotated[
        float | None, typer.Option(help="On the style by itself.", rich_help_panel=DIFFUSION)
    ] = None,
    reference_attention_scale: Annotated[
        float, typer.Option(help="Weight of the portrait.", rich_help_panel=DIFFUSION)
    ] = 1.0,
    audio_attention_scale: Annotated[
        float, typer.Option(help="Weight of the audio.", rich_help_panel=DIFFUSION)
    ] = 1.0,
    style_attention_scale: Annotated[
        float, typer.Option(help="Weight of the style.", rich_help_panel=DIFFUSION)
    ] = 1.0,
    context_length: Annotated[
        int, typer.Option(help="Frames denoised together.", rich_help_panel=DIFFUSION)
    ] = 24,
    context_overlap: Annotated[
        int, typer.Option(help="Frames that windows share.", rich_help_panel=DIFFUSION)
    ] = 4,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, mps. Default: the best.", rich_help_panel=MACHINE),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16.", rich_help_panel=MACHINE)
    ] = "float32",
) -> None:
    """Make a portrait speak: IMAGE and AUDIO in, a video out."""
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.generation.generate import generate_video
    from svp_diffusers.generation.request import GenerationRequest, parse_bbox
    from svp_diffusers.media.manifest import get_manifest_path

    request = GenerationRequest(
        image=image,
        audio=audio,
        output=output,
        model=model,
        style=style,
        style_temperature=style_temperature,
        num_styles=num_styles,
        face_landmarker=face_landmarker,
        head_video=head_video,
        head_keypoints=head_keypoints,
        head_keypoints_fps=head_keypoints_fps,
        portrait_keypoints=portrait_keypoints,
        bbox=None if bbox is None else parse_bbox(bbox),
        detect_face=detect_face,
        face_index=face_index,
        seed=seed,
        steps=steps,
        size=size,
        fps=fps,
        guidance_scale=guidance_scale,
        audio_guidance_scale=audio_guidance_scale,
        style_guidance_scale=style_guidance_scale,
        reference_attention_scale=reference_attention_scale,
        audio_attention_scale=audio_attention_scale,
        style_attention_scale=style_attention_scale,
        context_length=context_length,
        context_overlap=context_overlap,
        device=device,
        dtype=dtype,
    )
    with show_progress() as on_progress:
        paths = generate_video(request, on_progress)
    for path in paths:
        typer.echo(f"{path}  (manifest: {get_manifest_path(path)})")
