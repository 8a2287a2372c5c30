"""What a user of the app asks for, checked: from what the page hands over to a request."""

import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from svp_diffusers.app.style_map import StyleMap
from svp_diffusers.errors import ConfigurationError, MediaError, StyleError
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.generation.spoken_line import speak_line
from svp_diffusers.media.containers import check_length
from svp_diffusers.media.documents import Description, check_document
from svp_diffusers.media.input import check_input
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.style.clip import COEFFICIENT_SUFFIXES
from svp_diffusers.style.parse import parse_style
from svp_diffusers.style.storage import STYLE_SUFFIX, save_style


class StyleKind(StrEnum):
    """Where the style comes from."""

    PRIOR = "any, drawn from the prior"
    NAME = "by name"
    BLEND = "between two"
    MAP = "from the map"
    SCHEDULE = "changing"
    CLIP = "from a clip"
    FILE = "from a style file"


# Our choices: what one user may ask of a machine that others share.
MOST_PERFORMANCES = 4
MOST_SECONDS = 60
MOST_LETTERS = 500
MOST_BYTES = 50 * 2**20


Styles = Mapping[str, StyleDistribution]
_Share = Annotated[float, Field(ge=0, le=1)]


class Form(Description):
    """The fields of the page. Files are as they were uploaded; None or "" is left out."""

    image: str | None
    audio: str | None
    text: Annotated[str, Field(max_length=MOST_LETTERS)]
    style_kind: str
    style_name: str
    second_name: str
    blend: _Share
    map_x: _Share
    map_y: _Share
    schedule: str
    clip: str | None
    style_file: str | None
    temperature: float
    guidance_scale: float
    performances: Annotated[int, Field(ge=1, le=MOST_PERFORMANCES)]
    head_motion: str
    seed: Annotated[int, Field(ge=0, lt=2**63)]


def read_form(values: dict[str, object]) -> Form:
    """A form of what was sent; raises `ConfigurationError` for what no field of the page gives."""
    try:
        check_document(values, Form)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return Form.model_validate(values)


def write_request(
    form: Form, uploads: Path, folder: Path, styles: Styles, style_map: StyleMap | None
) -> GenerationRequest:
    """Check a form, and lay out its files in a folder under names of our own.

    Args:
        form: what was asked for.
        uploads: where files must lie that users handed in; no other file is opened.
        folder: of this request, for copies of its files, its style, and its video.
        styles: what can be named.
        style_map: what can be pointed at; None if there is nothing.

    Raises:
        MediaError: a file that lies elsewhere, or is missing or too long or large.
        StyleError: an unknown style.
        MissingDependencyError: text without a voice to speak it.
    """
    if form.image is None:
        raise MediaError("There is no portrait: upload one, take one, or choose a sample.")
    image = _take(form.image, uploads, folder / "portrait")
    style = _write_style(form, uploads, folder, styles, style_map)
    return GenerationRequest(
        image=image,
        audio=_write_speech(form, uploads, folder),
        output=folder / "talk.mp4",
        style=style,
        style_temperature=form.temperature,
        num_styles=form.performances,
        head_motion=form.head_motion or None,
        guidance_scale=form.guidance_scale or None,
        seed=form.seed,
    )


def _write_speech(form: Form, uploads: Path, folder: Path) -> Path:
    if form.audio is not None:
        audio = _take(form.audio, uploads, folder / "speech")
    elif not form.text.strip():
        raise MediaError("Nothing is said: upload a recording, speak, choose a sample, or write.")
    else:
        audio = folder / "speech.wav"
        speak_line(form.text, audio)
    check_length(audio, MOST_SECONDS)
    return audio


def _write_style(
    form: Form, uploads: Path, folder: Path, styles: Styles, style_map: StyleMap | None
) -> str | None:
    """The style as `parse_style` takes it: a name, a schedule of names, or a file in the folder."""
    if form.style_kind not in list(StyleKind):
        raise StyleError(f"A style is {', '.join(StyleKind)}; not {form.style_kind!r}.")
    match StyleKind(form.style_kind):
        case StyleKind.PRIOR:
            return None
        case StyleKind.NAME:
            return _check_name(form.style_name, styles)
        case StyleKind.BLEND:
            first = styles[_check_name(form.style_name, styles)]
            second = styles[_check_name(form.second_name, styles)]
            path = folder / f"between{STYLE_SUFFIX}"
            save_style(first.interpolate(second, form.blend), path)
        case StyleKind.MAP:
            if style_map is None:
                raise StyleError("This checkpoint has no styles to point at.")
            path = folder / f"map{STYLE_SUFFIX}"
            save_style(style_map.find_style(form.map_x, form.map_y), path)
        case StyleKind.SCHEDULE:
            entries = parse_style(form.schedule, styles)
            if any(entry.file is not None or entry.text == "from_audio" for entry in entries):
                raise StyleError("Here a schedule takes names only, as 0:neutral,1.5:happy.")
            return form.schedule
        case StyleKind.CLIP:
            if form.clip is None:
                raise StyleError("There is no clip: upload a video, a recording or coefficients.")
            path = _take(form.clip, uploads, folder / "clip")
            if path.suffix not in COEFFICIENT_SUFFIXES:
                check_length(path, MOST_SECONDS)
        case StyleKind.FILE:
            if form.style_file is None:
                raise StyleError("There is no style file: upload a *.style.safetensors.")
            path = folder / f"style{STYLE_SUFFIX}"
            shutil.copyfile(_check_upload(form.style_file, uploads), path)
    return str(path)


def _check_name(name: str, styles: Styles) -> str:
    if name not in styles:
        raise StyleError(f"unknown style {name!r}; known here: {', '.join(styles)}")
    return name


def _take(upload: str, uploads: Path, target: Path) -> Path:
    """Copy an upload to a name of our own, with its suffix."""
    path = _check_upload(upload, uploads)
    suffix = path.suffix.lower()
    target = target.with_suffix(suffix if suffix[1:].isalnum() and suffix.isascii() else "")
    shutil.copyfile(path, target)
    return target


def _check_upload(upload: str, uploads: Path) -> Path:
    path = Path(upload).resolve()
    if not path.is_relative_to(uploads.resolve()):
        raise MediaError("That file was not uploaded here.")
    if check_input(path).stat().st_size > MOST_BYTES:
        raise MediaError(f"The file has more than {MOST_BYTES >> 20} MiB; make it smaller.")
    return path
