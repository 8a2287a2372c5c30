"""What the portrait's detail is worth on real clips: PSNR, SSIM and sharpness against the truth.

Each clip's reference (a folder with `clip.mp4` and `reference.jpg`) speaks its sound in its style,
its head moved as in the clip, without the portrait's detail and with it; the frames are compared
with the clip's own, cut alike, all brought to one size. Sharpness is the mean absolute Laplacian
over that of the true frames. The videos lie in the output folder.

    python benchmarks/portrait_detail.py CLIPS -o detail --seconds 4
"""

import argparse
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace

from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.portrait import prepare_portraits
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.measures.pictures import measure_psnr, measure_ssim
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.image import read_image
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.media.video import read_frames
from svp_diffusers.pipelines.head_svp import FaceCrop

FPS, RATE = Fraction(25), 16_000
SCALES, SIZE = (0, 1, 2, 4), 256


def main() -> None:
    """Make the videos, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    detector = LandmarkFaceDetector()
    folders = sorted(arguments.clips.iterdir())
    measured = np.zeros((len(SCALES), len(folders), 3))
    for number, folder in enumerate(folders):
        speech = arguments.output / f"{folder.name}.wav"
        sound = to_mono(read_audio(folder / "clip.mp4"), RATE)
        soundfile.write(speech, sound[: round(RATE * arguments.seconds)], RATE)
        for row, scale in enumerate(SCALES):
            measured[row, number] = compare(folder, speech, scale, detector)
    print("| detail scale | PSNR (dB) | SSIM | sharpness |\n|---|---|---|---|")
    for scale, (psnr, ssim, sharpness) in zip(SCALES, measured.mean(axis=1), strict=True):
        print(f"| {scale} | {psnr:.2f} | {ssim:.3f} | {sharpness:.2f} |")


def compare(
    folder: Path, speech: Path, scale: int, detector: LandmarkFaceDetector
) -> tuple[float, float, float]:
    """PSNR, SSIM and sharpness of one video."""
    request = GenerationRequest(
        image=folder / "reference.jpg",
        audio=speech,
        output=speech.with_name(f"{folder.name}_{scale}.mp4"),
        style=str(folder / "clip.mp4"),
        style_temperature=0.0,
        head_video=folder / "clip.mp4",
        detail_scale=scale,
    )
    (video,) = generate_video(request, detector=detector)
    picture = read_image(request.image)
    (portrait,) = prepare_portraits(request, (None,), picture, 128, "head8", detector)
    made = np.stack([bring(frame) for frame in read_frames(video, FPS)])
    truth = islice(read_frames(folder / "clip.mp4", FPS), len(made))
    true = np.stack([bring(cut(frame, portrait.crop)) for frame in truth])
    made = made[: len(true)]
    everywhere = np.ones(made.shape[:3], bool)
    return (
        measure_psnr(made, true, 255),
        measure_ssim(made, true, everywhere),
        measure_sharpness(made) / measure_sharpness(true),
    )


def measure_sharpness(frames: NDArray[np.uint8]) -> float:
    """Mean absolute Laplacian of frames (n, height, width, 3)."""
    return float(np.mean([np.abs(laplace(frame.mean(axis=2))).mean() for frame in frames]))


def cut(frame: NDArray[np.uint8], crop: FaceCrop) -> NDArray[np.uint8]:
    """The part of a frame that the portrait was cut out of its picture."""
    side = round(crop.image.width / crop.scale)
    return frame[crop.top : crop.top + side, crop.left : crop.left + side]


def bring(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame at the size of the comparison."""
    return np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
