"""What the package can do, shown with the samples that ship with it: the job of `svp demo`."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline, select_device
from svp_diffusers.checkpoints.precision import open_precision, select_precision
from svp_diffusers.generation.generate import Progress, generate_video
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.image import read_image
from svp_diffusers.media.keypoints import read_keypoints
from svp_diffusers.media.mark import mark_picture
from svp_diffusers.media.output import atomic_path, check_output
from svp_diffusers.media.video import read_frames, write_video
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS, SPEECH

FPS = Fraction(25)
SAMPLING_RATE = 16000
FIRST_STYLE = "happy"
STYLES = ("neutral", "happy", "angry", "surprised")
"""Of the side-by-side video."""
MORE = ((2, "sad"), (3, "fear"))
"""Person and style of the further rows of the contact sheet, a second each."""
MOMENTS = 6
LABEL = 24  # pixels, even, since a video's sides are


def make_demo(
    request: GenerationRequest, on_progress: Progress = lambda task, done, total: None
) -> list[Path]:
    """Make a video of a portrait, one of another in four styles, and a sheet of four people.

    Args:
        request: of the first video, see `request_demo`; the others take its checkpoint and seed.
        on_progress: called at every step.

    Returns:
        The video, and beside it `*_styles.mp4` and `*_samples.png`.

    Raises:
        SVPError: of the kind that fits.
    """
    video = request.output
    styles = video.with_stem(f"{video.stem}_styles")
    sheet = video.with_name(f"{video.stem}_samples.png")
    for path in (video, styles, sheet):
        check_output(path)
    generate_video(request, on_progress)

    device = select_device(None)
    precision = select_precision(request.dtype, device)
    pipeline = load_pipeline(find_checkpoint(request.model), device, precision)
    pipeline.set_progress_bar_config(disable=True)
    recording = read_audio(SPEECH[1])
    line = to_mono(recording, SAMPLING_RATE)
    cast = [(1, style, line) for style in STYLES]
    cast += [(person, style, line[:SAMPLING_RATE]) for person, style in MORE]
    takes = []
    with open_precision(precision, device):
        for number, (person, style, waveform) in enumerate(cast):
            on_progress("performances", number, len(cast))
            takes.append(perform_sample(pipeline, person, waveform, style, request.seed))
    on_progress("performances", len(cast), len(cast))

    frames = join_with_labels(dict(zip(STYLES, takes, strict=False)))
    write_video(styles, frames, FPS, recording, {"title": ", ".join(STYLES)})
    size = takes[0].shape[1]
    rows = [(0, FIRST_STYLE, np.stack(list(read_frames(video))))]
    rows += [(person, style, take) for (person, style, _), take in zip(cast, takes, strict=True)]
    with atomic_path(sheet) as temporary:
        draw_sheet(rows, size).save(temporary, pnginfo=mark_picture())
    return [video, styles, sheet]


def request_demo(
    output: Path, audio: Path = SPEECH[0], model: str | None = None, seed: int = 0
) -> GenerationRequest:
    """The request of `svp generate` that makes the demo's first video."""
    return GenerationRequest(
        image=PORTRAITS[0],
        audio=audio,
        output=output,
        model=model,
        style=FIRST_STYLE,
        portrait_keypoints=PORTRAIT_KEYPOINTS[0],
        seed=seed,
    )


def perform_sample(
    pipeline: SVPTalkingHeadPipeline,
    person: int,
    waveform: NDArray[np.float32],
    style: str,
    seed: int,
) -> NDArray[np.uint8]:
    """Let a person of the samples say something: frames (frames, size, size, 3).

    Args:
        pipeline: of 8 head keypoints.
        person: index of the portrait.
        waveform: (samples,), 16 kHz.
        style: a name of the checkpoint's bank.
        seed: of the style's draw and the noise.
    """
    picture = read_image(PORTRAITS[person])
    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    keypoints = read_keypoints(PORTRAIT_KEYPOINTS[person])[0] * (size / picture.width)
    (video,), _ = pipeline(
        picture,
        waveform,
        style,
        portrait_keypoints=keypoints,
        fps=FPS,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        return_dict=False,
    )
    return np.asarray((255 * video).round(), np.uint8)


def join_with_labels(takes: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Set videos (frames, height, width, 3) of one size side by side, each under its name."""
    columns = []
    for name, frames in takes.items():
        label = np.asarray(draw_label(name, frames.shape[2], LABEL))
        above = np.broadcast_to(label, (len(frames), *label.shape))
        columns.append(np.concatenate([above, frames], axis=1))
    return np.concatenate(columns, axis=2)


def draw_sheet(rows: Sequence[tuple[int, str, NDArray[np.uint8]]], size: int) -> Image.Image:
    """Draw a row for each (person, style, frames): the portrait, and moments of the video."""
    sheet = Image.new("RGB", ((MOMENTS + 2) * size, len(rows) * size), "white")
    for row, (person, style, frames) in enumerate(rows):
        moments = np.linspace(0, len(frames) - 1, MOMENTS + 2).round().astype(int)[1:-1]
        pictures = [
            draw_label(style, size, size),
            read_image(PORTRAITS[person]).resize((size, size), Image.Resampling.LANCZOS),
            *(Image.fromarray(frames[moment]) for moment in moments),
        ]
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * size, row * size))
    return sheet


def draw_label(text: str, width: int, height: int) -> Image.Image:
    """Write a word in the middle of a white picture."""
    label = Image.new("RGB", (width, height), "white")
    middle, font = (width / 2, height / 2), ImageFont.load_default(15)
    ImageDraw.Draw(label).text(middle, text, fill=(40, 40, 50), font=font, anchor="mm")
    return label
