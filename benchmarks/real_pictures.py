"""How well a checkpoint animates pictures that no training saw: faces kept, lips that follow sound.

Of each clip (a folder with `clip.mp4` and `reference.jpg`) the reference is animated by the clip's
sound and in the clip's own style, with a still head, and the mouth's opening and width, read by the
face landmarker, are compared with those of the true clip over time. Of each portrait the same is
made with one recording. The videos lie in the output folder, with a sheet of all.

    python benchmarks/real_pictures.py CLIPS PORTRAITS SPEECH.wav -o real --model svp-tiny
"""

import argparse
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.measures.face_regions import locate_eyes
from svp_diffusers.measures.pictures import measure_psnr
from svp_diffusers.media.audio import Recording, read_audio, to_mono
from svp_diffusers.media.landmarks import load_face_landmarker, track_landmarks
from svp_diffusers.media.video import read_frames, write_video
from svp_diffusers.models.face_landmarker_svp import OUTER_CORNERS, FaceLandmarker
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

FPS = Fraction(25)
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291  # of the 478 landmarks
SHEET_FRAMES = 8


@dataclass(frozen=True)
class Mouth:
    """A mouth over time, as shares of the distance of the outer corners of the eyes; NaN unseen.

    opening, width: (frames,)
    """

    opening: NDArray[np.float64]
    width: NDArray[np.float64]

    @property
    def seen(self) -> float:
        """Share of the frames in which a face was found."""
        return float(1 - np.isnan(self.opening).mean())


def read_mouth(frames: list[NDArray[np.uint8]], landmarker: FaceLandmarker) -> Mouth:
    """Read the mouth in every frame (height, width, 3)."""
    values = []
    for face in track_landmarks(frames, landmarker):
        if face is None:
            values.append((np.nan, np.nan))
            continue
        points = face.landmarks[0, :, :2].numpy()
        left, right = points[OUTER_CORNERS]
        unit = np.linalg.norm(left - right)
        values.append(
            (
                np.linalg.norm(points[UPPER_LIP] - points[LOWER_LIP]) / unit,
                np.linalg.norm(points[LEFT_CORNER] - points[RIGHT_CORNER]) / unit,
            )
        )
    return Mouth(*np.array(values).T)


def compare(read: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Correlation over the frames in which both are seen."""
    length = min(len(read), len(truth))
    both = ~np.isnan(read[:length]) & ~np.isnan(truth[:length])
    return float(correlate(read[:length][both], truth[:length][both]))


def main() -> None:
    """Animate, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    folder = find_checkpoint(arguments.model)
    pipeline = load_pipeline(folder, torch.device("cpu"), "float32")
    pipeline.set_progress_bar_config(disable=True)
    landmarker = load_face_landmarker()
    made, true, rows = [], [], []
    print("| picture | VAE dB | eyes dB, still head | face seen | opening | width |")
    print("|---" * 6 + "|")
    for folder in sorted(arguments.clips.iterdir()):
        sound = read_sound(folder / "clip.mp4", arguments.seconds)
        number = round(len(sound) / 16_000 * FPS)
        truth = list(read_frames(folder / "clip.mp4", FPS))[:number]
        frames = animate(pipeline, folder / "reference.jpg", sound)
        made.append(read_mouth(frames, landmarker))
        true.append(read_mouth(truth, landmarker))
        figures = (
            f"{made[-1].seen:.2f} | {compare(made[-1].opening, true[-1].opening):.2f} | "
            f"{compare(made[-1].width, true[-1].width):.2f}"
        )
        picture = folder / "reference.jpg"
        rows.append(show(pipeline, landmarker, picture, frames, sound, arguments.output, figures))
    sound = read_sound(arguments.speech, arguments.seconds)
    for picture in sorted(arguments.portraits.iterdir()):
        frames = animate(pipeline, picture, sound)
        made.append(read_mouth(frames, landmarker))
        figures = f"{made[-1].seen:.2f} | | "
        rows.append(show(pipeline, landmarker, picture, frames, sound, arguments.output, figures))
    Image.fromarray(np.concatenate(rows)).save(arguments.output / "sheet.png")
    shuffled = [
        [compare(a.opening, b.opening), compare(a.width, b.width)]
        for i, a in enumerate(made[: len(true)])
        for j, b in enumerate(true)
        if i != j
    ]
    opening, width = np.nanmean(shuffled, axis=0)
    print(f"| the sound of another clip | | | | {opening:.2f} | {width:.2f} |")
    seen = np.mean([mouth.seen for mouth in made])
    print(f"\nA face is found in {100 * seen:.1f} % of the frames.")


def read_sound(path: Path, seconds: float) -> NDArray[np.float32]:
    """The beginning of a recording, mono, 16 kHz."""
    return to_mono(read_audio(path))[: round(16_000 * seconds)]


@torch.no_grad()
def animate(
    pipeline: SVPTalkingHeadPipeline, picture: Path, sound: NDArray[np.float32]
) -> list[NDArray[np.uint8]]:
    """The picture, speaking with the style of the sound, its head still."""
    output = pipeline(
        Image.open(picture),
        sound,
        "from_audio",
        fps=FPS,
        head_motion="still",
        generator=torch.Generator().manual_seed(0),
    )
    return [np.asarray(frame) for frame in output.frames[0]]


@torch.no_grad()
def show(
    pipeline: SVPTalkingHeadPipeline,
    landmarker: FaceLandmarker,
    picture: Path,
    frames: list[NDArray[np.uint8]],
    sound: NDArray[np.float32],
    output: Path,
    figures: str,
) -> NDArray[np.uint8]:
    """Print a row, write the video, and give a strip of the sheet: portrait, VAE's, video."""
    height, width = frames[0].shape[:2]
    generated = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    name = picture.parent.name if picture.stem == "reference" else picture.stem
    scale = max(1, pipeline.config.detail_scale)
    opened = Image.open(picture).convert("RGB")
    portrait, _ = pipeline.find_head(opened, generated, generated, scale)
    decoded = pipeline.reconstruct_portrait(pipeline.encode_image(portrait, generated, generated))
    enlarged = F.interpolate(decoded[None], (height, width), mode="bicubic")[0]
    shown = np.asarray(portrait.resize((width, height))), to_picture(enlarged)
    face = next(track_landmarks([shown[0]], landmarker))
    eyes_psnr = float("nan")
    if face is not None:
        eyes = locate_eyes(face.head_keypoints(), height, width)[0, 0].numpy()
        eyes_psnr = measure_psnr(frames[0][eyes], shown[0][eyes], 255)
    print(
        f"| {name} | {pipeline.measure_portrait(portrait, decoded):.1f} | {eyes_psnr:.1f} "
        f"| {figures} |",
        flush=True,
    )
    write_video(output / f"{name}.mp4", frames, FPS, Recording(sound[None], 16_000, name))
    chosen = np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)
    return np.concatenate([*shown, *(frames[index] for index in chosen)], axis=1)


def to_picture(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """(3, height, width) in [0, 1] as (height, width, 3) uint8."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


if __name__ == "__main__":
    main()
