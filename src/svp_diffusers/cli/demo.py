"""`svp demo`: a video out of nothing but this package."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_TEXT = "Hello! A portrait, a voice, and a style are all it takes to make me speak."


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The video to write, .mp4.")],
    text: Annotated[str, typer.Option(help="What is said, in English.")] = DEFAULT_TEXT,
    seed: Annotated[int, typer.Option(help="Who is drawn, and of style and noise.")] = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 8,
) -> None:
    """Draw a portrait, synthesise its speech, and make a video of them."""
    import soundfile

    from svp_diffusers.cli.generate import announce_random_weights
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.data.procedural import draw_portrait, sample_identity, synthesise_speech
    from svp_diffusers.media.output import atomic_path, check_output
    from svp_diffusers.pipelines.generation import generate_video
    from svp_diffusers.pipelines.request import GenerationRequest

    check_output(output)
    image, audio = (
        output.with_name(f"{output.stem}_portrait.png"),
        output.with_name(f"{output.stem}_speech.wav"),
    )
    portrait = draw_portrait(sample_identity(seed), size=256)
    waveform, _ = synthesise_speech(text)
    with atomic_path(image) as temporary:
        portrait.save(temporary)
    with atomic_path(audio) as temporary:
        soundfile.write(temporary, waveform, 16000)
    announce_random_weights()
    request = GenerationRequest(image=image, audio=audio, output=output, seed=seed, steps=steps)
    with show_progress() as on_progress:
        generate_video(request, on_progress)
    typer.echo(f"{image}, {audio}: drawn and spoken for this demo\n{output}: the video")
