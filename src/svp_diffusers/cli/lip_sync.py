"""`svp lip-sync`: a video and a recording to the video with other lips."""

from svp_diffusers.cli.options import takes_fields_of
from svp_diffusers.cli.printing import say
from svp_diffusers.generation.lip_sync.request import LipSyncRequest


@takes_fields_of(LipSyncRequest)
def lip_sync(request: LipSyncRequest) -> None:
    """Make a filmed person say other speech: VIDEO and AUDIO in, the video with other lips out."""
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.generation.lip_sync.run import sync_lips
    from svp_diffusers.media.manifest import get_manifest_path

    with show_progress() as on_progress:
        path = sync_lips(request, on_progress)
    say(f"{path}  (manifest: {get_manifest_path(path)})")
