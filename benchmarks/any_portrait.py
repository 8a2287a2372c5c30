"""Whether the face of any portrait is found, and kept: as it is, and as users store it.

Each picture of the folders, 20 rendered and 8 drawn people are animated by `svp generate`'s own way
with their head still; some of them turned by EXIF, as CMYK, transparent, large and small as well.
The first frame, whose mouth is still closed, is compared with the portrait around the eyes and
brows, and over the upper half of the face.

    python benchmarks/any_portrait.py SPEECH.wav PICTURES ... -o any --model svp-tiny
"""

import argparse
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from svp_diffusers.errors import SVPError
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.portrait import prepare_portraits
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.measures.face_regions import locate_eyes, locate_face
from svp_diffusers.measures.pictures import measure_psnr
from svp_diffusers.media.image import read_image
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.media.video import read_frames
from svp_diffusers.samples import PORTRAITS
from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.subject import prepare_subject

RENDERED, DRAWN = range(7000, 7020), range(7000, 7008)
VARIED = 6  # pictures that are stored in every way
SIZE = 128


def collect(folders: list[Path], output: Path) -> Iterator[Path]:
    """The pictures: samples, those of the folders, rendered people, drawn ones."""
    yield from PORTRAITS
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    for look, seeds in (("rendered", RENDERED), ("drawn", DRAWN)):
        for seed in seeds:
            subject = prepare_subject(look, seed, 256)
            path = output / f"{look}_{seed}.png"
            Image.fromarray(subject.draw({}, HeadPose())).save(path)
            yield path


def store(path: Path, output: Path) -> Iterator[Path]:
    """The same picture as phones, printers and editors store it."""
    picture = Image.open(path).convert("RGB")
    name = path.parent.name if path.stem == "reference" else path.stem
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6
    copies: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "turned.jpg": (turned, {"exif": exif, "quality": 95}),
        "cmyk.jpg": (picture.convert("CMYK"), {"quality": 95}),
        "transparent.png": (picture.convert("RGBA"), {}),
        "large.jpg": (ImageOps.contain(picture, (4000, 4000)), {"quality": 90}),
        "small.png": (ImageOps.contain(picture, (200, 200)), {}),
    }
    for suffix, (copy, options) in copies.items():
        stored = output / f"{name}_{suffix}"
        copy.save(stored, **options)
        yield stored


def animate(
    path: Path,
    speech: Path,
    output: Path,
    model: str | None,
    detail_scale: int | None,
    detector: LandmarkFaceDetector,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """The first frame, the portrait as the pipeline sees it, and its head keypoints."""
    request = GenerationRequest(
        image=path,
        audio=speech,
        output=output / f"{path.stem}.mp4",
        style="neutral",
        model=model,
        head_motion="still",
        detail_scale=detail_scale,
    )
    (video,) = generate_video(request, detector=detector)
    frame = next(iter(read_frames(video, Fraction(25))))
    (portrait,) = prepare_portraits(
        request, (None,), read_image(path), len(frame), "head8", detector
    )
    assert portrait.keypoints is not None
    shown = np.asarray(portrait.crop.image.resize(frame.shape[:2], Image.Resampling.LANCZOS))
    return frame, shown, portrait.keypoints


def main() -> None:
    """Animate all, print the table, save the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, help="a short one: its first frame is used")
    parser.add_argument("pictures", type=Path, nargs="*", help="folders")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument("--detail-scale", type=int, help="default: the checkpoint's")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    detector = LandmarkFaceDetector()
    pictures = list(collect(arguments.pictures, arguments.output))
    chosen = np.linspace(0, len(pictures) - 1, VARIED).round().astype(int)
    for index in chosen:
        pictures += store(pictures[index], arguments.output)
    cells, found = [], 0
    print("| picture | eyes dB | upper face dB | warned of |\n|---|---|---|---|")
    for path in pictures:
        name = path.parent.name if path.stem == "reference" else path.stem
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                frame, shown, keypoints = animate(
                    *(path, arguments.speech, arguments.output, arguments.model),
                    *(arguments.detail_scale, detector),
                )
            except SVPError as error:
                print(f"| {name} | | | {type(error).__name__}: {error} |", flush=True)
                continue
        found += 1
        points = torch.from_numpy(np.asarray(keypoints, np.float32))[None]
        eyes = locate_eyes(points, *frame.shape[:2])[0, 0].numpy()
        upper = locate_face(points, *frame.shape[:2])[0, 0].numpy()
        upper[round(float(points[0, 6:, 1].mean() + 0.5 * np.ptp(points[0, 6:, 0].numpy()))) :] = 0
        said = "; ".join(str(each.message).split(";")[0] for each in caught)
        values = [f"{measure_psnr(frame[part], shown[part], 255):.1f}" for part in (eyes, upper)]
        print(f"| {name} | {' | '.join(values)} | {said} |", flush=True)
        cells.append(np.concatenate([shown, frame], axis=1))
    print(f"\nfaces found: {found} of {len(pictures)}")
    cells += [np.zeros_like(cells[0])] * (-len(cells) % 6)
    rows = [np.concatenate(cells[i : i + 6], axis=1) for i in range(0, len(cells), 6)]
    Image.fromarray(np.concatenate(rows)).save(arguments.output / "sheet.png")


if __name__ == "__main__":
    main()
