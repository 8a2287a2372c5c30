"""The page: what is on it, and what its buttons do. Its functions are the app's API."""

import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from svp_diffusers.app.form import (
    MOST_LETTERS,
    MOST_PERFORMANCES,
    MOST_SECONDS,
    Form,
    StyleKind,
    read_form,
)
from svp_diffusers.app.live import ADDRESS, LiveVideo
from svp_diffusers.app.performer import CancelledError, Performance, Performer
from svp_diffusers.app.style_map import SIDE, mark_point
from svp_diffusers.errors import MissingDependencyError, SVPError
from svp_diffusers.samples import PORTRAITS, SPEECH

if TYPE_CHECKING:
    import gradio as gr

Upload = dict[str, Any] | None
"""A file as the browser names it, {"path": where the server put it, ...}."""
WAITING = 20
"""Requests that may wait (our choice); others are told to come back."""
KEPT_SECONDS = 3600
"""How long videos can be downloaded (our choice)."""

ABOUT = """# Talking heads with a speaking style
A portrait, speech and a **style** go in, a video comes out (checkpoint: {name}).
Animate a face, and use a voice, only with the consent of the people they belong to. Every video is
marked as synthetic. Files stay on this server for an hour, and nowhere else."""
LIVE = '<video src="{}" autoplay controls playsinline></video>'
CSS = """#live video { width: 100%; max-height: 420px; }
#map img { cursor: crosshair; }
.gradio-container { max-width: 1280px; margin: auto; }"""


def check_gradio() -> None:
    """Raise `MissingDependencyError` unless Gradio is installed."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "the app needs Gradio: pip install 'svp-diffusers[app]'"
        ) from error


def build_page(
    performer: Performer, wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda f: f
) -> "gr.Blocks":
    """Build the page of a performer; see `svp_diffusers.app.serving.launch_page`.

    Args:
        performer: makes the videos.
        wrap: a decorator for the function that does so, such as the one of a ZeroGPU Space, which
            runs it in another process: a video is then not shown while it is made, and goes on in
            vain when it is stopped.

    Raises:
        MissingDependencyError: Gradio is not installed.
    """
    check_gradio()
    import gradio as gr

    names = list(performer.styles)
    kinds = [each for each in StyleKind if performer.map or each != StyleKind.MAP]
    picture = performer.map.draw() if performer.map else None
    stops: dict[str | None, threading.Event] = {}
    watching: dict[str | None, str] = {}

    def perform(
        form: Form,
        progress: gr.Progress,
        is_cancelled: Callable[[], bool] = lambda: False,
        live: LiveVideo | None = None,
    ) -> Performance | SVPError:
        """Make a video, or say why not: ZeroGPU sends what this takes and gives to a process."""
        try:
            return performer.perform(
                form,
                lambda task, done, total: progress((done, total), desc=task),
                is_cancelled,
                live,
            )
        except SVPError as error:
            return error

    lent = wrap(perform)
    is_elsewhere = lent is not perform  # where an event cannot be set, and no video watched

    def generate(
        image: Upload,
        text: str,
        style_kind: str,
        style_name: str,
        second_name: str,
        blend: float,
        map_x: float,
        map_y: float,
        schedule: str,
        temperature: float,
        guidance_scale: float,
        performances: int,
        head_motion: str,
        seed: int,
        session: gr.Request,
        audio: Upload = None,
        clip: Upload = None,
        style_file: Upload = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008, which is how Gradio finds it
    ) -> tuple[str, list[str], str]:
        """Make a video: its path, the files to download, and what there is to note."""
        stop = stops[session.session_hash] = threading.Event()
        live = performer.watched.get(watching.get(session.session_hash, ""))
        try:
            form = read_form(
                {
                    "image": _path_of(image),
                    "audio": _path_of(audio),
                    "text": text,
                    "style_kind": style_kind,
                    "style_name": style_name,
                    "second_name": second_name,
                    "blend": blend,
                    "map_x": map_x,
                    "map_y": map_y,
                    "schedule": schedule,
                    "clip": _path_of(clip),
                    "style_file": _path_of(style_file),
                    "temperature": temperature,
                    "guidance_scale": guidance_scale,
                    "performances": performances,
                    "head_motion": head_motion,
                    "seed": seed,
                }
            )
            here = () if is_elsewhere else (stop.is_set, live)
            made = lent(form, progress, *here)
            if isinstance(made, SVPError):
                raise made
        except SVPError as error:
            kind = type(error).__name__
            raise gr.Error(str(error), title=kind, duration=20, print_exception=False) from error
        except CancelledError as error:
            raise gr.Error("Stopped.", title="Cancelled", print_exception=False) from error
        finally:
            stops.pop(session.session_hash, None)
            forget_live(session)
        said = "\n".join(f"- {note}" for note in made.notes)
        return str(made.video), [str(path) for path in made.files], said

    def show_live(performances: int, session: gr.Request) -> list[Any]:
        """Show a player of the video that is about to be made, in place of the last one."""
        forget_live(session)
        if not performer.can_stream or performances != 1 or is_elsewhere:
            return hide_live()
        name = watching[session.session_hash] = secrets.token_urlsafe(16)
        performer.watched[name] = LiveVideo()
        address = ADDRESS.format(name=name).lstrip("/")  # the page need not be a server's root
        return [gr.update(value=LIVE.format(address), visible=True), gr.update(visible=False)]

    def hide_live() -> list[Any]:
        """Show the video as it is when it is made."""
        return [gr.update(value="", visible=False), gr.update(visible=True)]

    def forget_live(session: gr.Request) -> None:
        """End the player of this session."""
        live = performer.watched.pop(watching.pop(session.session_hash, ""), None)
        if live is not None:
            live.end()

    def stop(session: gr.Request) -> None:
        """Stop the video of this session."""
        if session.session_hash in stops:
            stops[session.session_hash].set()

    def describe_point(x: float, y: float) -> tuple[Any, str]:
        """The map with a point marked, and the styles that meet there."""
        if performer.map is None or picture is None:
            raise gr.Error("This checkpoint has no styles to show.", print_exception=False)
        x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        return mark_point(picture, x, y), f"Here: {performer.map.describe(x, y)}"

    def choose_point(event: gr.SelectData) -> tuple[float, float]:
        """Where the map was clicked."""
        x, y = event.index
        return round(x / SIDE, 3), round(y / SIDE, 3)

    def show_fields(kind: str) -> list[Any]:
        """Show the fields of a kind of style, hide the others."""
        return [gr.update(visible=kind in kinds) for kinds in shown]

    with gr.Blocks(
        title="svp", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 6, KEPT_SECONDS)
    ) as page:
        gr.Markdown(ABOUT.format(name=performer.name))
        with gr.Row():
            with gr.Column(scale=3):
                with gr.Row():
                    image = gr.Image(
                        type="filepath",
                        image_mode=None,
                        sources=["upload", "webcam"],
                        label="Portrait",
                        height=260,
                    )
                    with gr.Column():
                        audio = gr.Audio(
                            type="filepath",
                            sources=["upload", "microphone"],
                            label=f"Speech, {MOST_SECONDS} s at most",
                        )
                        text = gr.Textbox(
                            "",
                            label="or a line to say, in English",
                            max_length=MOST_LETTERS,
                            placeholder="Where there is no recording, a synthetic voice speaks.",
                        )
                with gr.Row():
                    with gr.Column(scale=4):
                        gr.Examples([[str(path)] for path in PORTRAITS], [image], label="Portraits")
                    with gr.Column(scale=3):
                        gr.Examples([[str(path)] for path in SPEECH], [audio], label="Speech")
                kind = gr.Radio(kinds, value=StyleKind.NAME, label="Style")
                with gr.Row():
                    name = gr.Dropdown(names, value=names[0], label="Style's name")
                    second = gr.Dropdown(
                        names, value=names[-1], label="Second style", visible=False
                    )
                    blend = gr.Slider(
                        0, 1, 0.5, label="From the first (0) to the second (1)", visible=False
                    )
                with gr.Row(visible=False) as map_row:
                    map_picture = gr.Image(
                        picture,
                        interactive=False,
                        label="Click a style, or between styles",
                        elem_id="map",
                        buttons=[],
                        scale=2,
                    )
                    with gr.Column(scale=1):
                        here = gr.Markdown()
                        map_x = gr.Slider(0, 1, 0.5, label="across")
                        map_y = gr.Slider(0, 1, 0.5, label="down")
                schedule = gr.Textbox(
                    f"0:{names[0]},1.5:{names[-1]}",
                    visible=False,
                    label="Seconds and styles: from 0 s on this, then that",
                )
                clip = gr.File(
                    label="Video, recording or coefficients whose style is taken", visible=False
                )
                style_file = gr.File(label="Style file", file_types=[".safetensors"], visible=False)
                with gr.Accordion("More", open=False):
                    with gr.Row():
                        temperature = gr.Slider(0, 2, 1, label="Temperature: 0 is the style's mean")
                        guidance = gr.Slider(
                            0, 8, 0, step=0.1, label="Guidance: 0 is the checkpoint's own"
                        )
                    with gr.Row():
                        performances = gr.Slider(
                            1, MOST_PERFORMANCES, 1, step=1, label="Performances, side by side"
                        )
                        head_motion = gr.Dropdown(
                            [("as suits the portrait", ""), "generated", "still"],
                            value="",
                            label="Head motion",
                        )
                        seed = gr.Number(0, precision=0, minimum=0, label="Seed")
            with gr.Column(scale=2):
                live = gr.HTML(visible=False, elem_id="live")
                video = gr.Video(label="Video", interactive=False, autoplay=True, height=420)
                with gr.Row():
                    run = gr.Button("Make the video", variant="primary")
                    cancel = gr.Button("Stop", variant="stop")
                notes = gr.Markdown()
                files = gr.File(
                    label="Video and manifest, to download", interactive=False, height=220
                )

        shown_fields = [name, second, blend, map_row, schedule, clip, style_file]
        shown = [
            (StyleKind.NAME, StyleKind.BLEND),
            (StyleKind.BLEND,),
            (StyleKind.BLEND,),
            (StyleKind.MAP,),
            (StyleKind.SCHEDULE,),
            (StyleKind.CLIP,),
            (StyleKind.FILE,),
        ]
        kind.change(show_fields, kind, shown_fields, api_visibility="private", queue=False)
        map_picture.select(
            choose_point, None, [map_x, map_y], api_visibility="private", queue=False
        )
        gr.on(
            [map_x.change, map_y.change],
            describe_point,
            [map_x, map_y],
            [map_picture, here],
            api_name="describe_point",
            queue=False,
        )
        shown_first = run.click(
            show_live, performances, [live, video], api_visibility="private", queue=False
        )
        running = shown_first.then(
            generate,
            [
                *(image, text, kind, name, second, blend, map_x, map_y, schedule),
                *(temperature, guidance, performances, head_motion, seed),
                *(audio, clip, style_file),
            ],
            [video, files, notes],
            api_name="generate",
            preprocess=False,  # files are opened by the package's own readers alone
            concurrency_limit=1,
        )
        running.then(hide_live, None, [live, video], api_visibility="private", queue=False)
        cancel.click(stop, None, None, cancels=[running], api_name="stop", queue=False)
        cancel.click(hide_live, None, [live, video], api_visibility="private", queue=False)
        page.unload(stop)
        page.unload(forget_live)
    page.queue(max_size=WAITING)
    return page


def _path_of(upload: Upload) -> str | None:
    return upload.get("path") if isinstance(upload, dict) else None
