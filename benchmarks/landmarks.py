"""How small a face is still found, and what a video frame costs.

The faces of the pictures are put into a larger frame, at several places, until they are so many
parts of its width; what counts is a box that overlaps the face's own by half. A video's face is
followed with one thread; other work on the processor shows in the upper quartile.

    python benchmarks/landmarks.py VIDEO PICTURES ...
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.media.image import read_image
from svp_diffusers.media.landmarks import (
    LandmarkFaceDetector,
    load_face_landmarker,
    track_landmarks,
)
from svp_diffusers.media.video import read_frames
from svp_diffusers.samples import PORTRAITS

WIDTHS = (0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.25, 0.4)
FRAME = (1280, 720)
PLACES = 4  # for each picture and width
FRAMES = 120


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("pictures", type=Path, nargs="*", help="files, beside the samples")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector = LandmarkFaceDetector(load_face_landmarker())
    pictures = [read_image(path) for path in (*PORTRAITS, *arguments.pictures)]
    print("| face, of the frame's width | found | boxes beside it |\n|---|---|---|")
    for width in WIDTHS:
        found = beside = total = 0
        for index, picture in enumerate(pictures):
            for frame, box in place(picture, width, detector, np.random.default_rng(index)):
                overlaps = [overlap(face.bbox, box) for face in detector.detect(frame)]
                found += any(value > 0.5 for value in overlaps)
                beside += sum(value <= 0.5 for value in overlaps)
                total += 1
        print(f"| {width:g} | {found / total:.0%} of {total} | {beside} |", flush=True)
    times = sorted(time_frames(arguments.video, detector))
    low, middle, high = np.percentile(times, [25, 50, 75])
    print(f"\nms a frame, quartiles: {low:.1f}, {middle:.1f}, {high:.1f}")


def place(
    picture: Image.Image,
    width: float,
    detector: LandmarkFaceDetector,
    generator: np.random.Generator,
) -> Iterator[tuple[Image.Image, NDArray[np.floating]]]:
    """Frames in which the picture's face is so wide, and its box there."""
    box = detector.detect(picture)[0].bbox
    scale = width * FRAME[0] / (box[2] - box[0])
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    small = picture.resize(size, Image.Resampling.LANCZOS)
    for _ in range(PLACES):
        frame = Image.new("RGB", FRAME, tuple(generator.integers(60, 200, 3).tolist()))
        # The face itself stays inside the frame, the picture need not.
        room = np.array(FRAME) - scale * (box[2:] - box[:2])
        corner = generator.uniform(0, np.maximum(room, 1)) - scale * box[:2]
        left, top = corner.round().astype(int)
        frame.paste(small, (int(left), int(top)))
        yield frame, scale * box + np.tile([left, top], 2)


def overlap(box: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Intersection over union."""
    inner = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0).prod()
    area, others = ((each[2:] - each[:2]).prod() for each in (box, other))
    return float(inner / (area + others - inner))


def time_frames(video: Path, detector: LandmarkFaceDetector) -> list[float]:
    """Milliseconds for each frame but the first, in which the face is looked for everywhere."""
    frames = [frame for _, frame in zip(range(FRAMES), read_frames(video), strict=False)]
    followed = track_landmarks(frames, detector.landmarker)
    next(followed)
    times, start = [], time.perf_counter()
    for _ in followed:
        now = time.perf_counter()
        times.append(1000 * (now - start))
        start = now
    return times


if __name__ == "__main__":
    main()
