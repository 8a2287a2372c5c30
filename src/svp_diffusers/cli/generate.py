"""`svp generate`: a portrait and a recording to a video."""

from svp_diffusers.cli.options import takes_fields_of
from svp_diffusers.cli.printing import say
from svp_diffusers.generation.request import GenerationRequest


@takes_fields_of(GenerationRequest)
def generate(request: GenerationRequest) -> None:
    """Make a portrait speak: IMAGE and AUDIO in, a video out."""
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.generation.generate import generate_video
    from svp_diffusers.media.manifest import get_manifest_path

    with show_progress() as on_progress:
        paths = generate_video(request, on_progress)
    for path in paths:
        say(f"{path}  (manifest: {get_manifest_path(path)})")
