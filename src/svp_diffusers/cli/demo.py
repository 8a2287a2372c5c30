"""`svp demo`: videos out of nothing but this package."""

from pathlib import Path
from typing import Annotated

import typer

from svp_diffusers.cli.printing import say


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The video to write, .mp4.")],
    text: Annotated[
        str | None,
        typer.Option(help="What the first video says, in English; needs the extra data."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Folder or Hub id of a checkpoint. Default: svp-tiny.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of style and noise.")] = 0,
) -> None:
    """Let the samples speak: a video, one line in four styles, and a sheet of pictures."""
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.generation.demo import STYLES, make_demo, request_demo
    from svp_diffusers.generation.spoken_line import speak_line
    from svp_diffusers.samples import SPEECH

    audio = SPEECH[0]
    if text is not None:
        audio = output.with_name(f"{output.stem}_speech.wav")
        speak_line(text, audio)
    request = request_demo(output, audio, model, seed)
    with show_progress() as on_progress:
        video, styles, sheet = make_demo(request, on_progress)
    say(
        f"{video}: a portrait speaks, {request.style}\n"
        f"{styles}: one line in four styles: {', '.join(STYLES)}\n"
        f"{sheet}: a portrait and moments of its video in every row\n"
        "The first was made by\n"
        f"  svp generate {request.image} {request.audio} --style {request.style} \\\n"
        f"    --portrait-keypoints {request.portrait_keypoints} --seed {seed} -o {video}"
    )
