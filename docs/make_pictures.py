"""The README's pictures, from what `svp demo -o demo.mp4` wrote:

python docs/make_pictures.py demo.mp4 docs/pictures
"""

import sys
from pathlib import Path

from PIL import Image

from svp_diffusers.media.video import read_frames

STEP = 2  # frames of the video a picture of the GIF, which keeps its size down
MILLISECONDS = 40 * STEP


def make_pictures(video: Path, folder: Path) -> None:
    """Write demo.gif, and, smaller than they are, demo_styles.gif and demo_samples.jpg."""
    styles = video.with_stem(f"{video.stem}_styles")
    for source, name, scale in ((video, "demo.gif", 1.0), (styles, "demo_styles.gif", 0.75)):
        pictures = [Image.fromarray(frame) for frame in list(read_frames(source))[::STEP]]
        size = (round(scale * pictures[0].width), round(scale * pictures[0].height))
        first, *rest = (
            picture.resize(size, Image.Resampling.LANCZOS).quantize(128) for picture in pictures
        )
        first.save(folder / name, save_all=True, append_images=rest, duration=MILLISECONDS, loop=0)
    sheet = Image.open(video.with_name(f"{video.stem}_samples.png"))
    sheet.reduce(2).save(folder / "demo_samples.jpg", quality=90)


if __name__ == "__main__":
    make_pictures(Path(sys.argv[1]), Path(sys.argv[2]))
