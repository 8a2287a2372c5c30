"""What a dataset holds: counts, hours, histograms, and a contact sheet."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import DatasetError

HISTOGRAM_FIELDS = ("split", "speaker", "emotion")
_BAR = 40


@dataclass(frozen=True)
class DatasetSummary:
    """Counts over a dataset, from its index alone.

    Args:
        clips: number of clips.
        frames: number of frames.
        hours: total duration.
        gigabytes: stored bytes / 1e9.
        longest, shortest: seconds.
        kinds: what is stored, e.g. "25 fps 128x128 jpeg arkit52 head8", to number of clips.
        histograms: for each of `HISTOGRAM_FIELDS`, value to number of clips.
    """

    clips: int
    frames: int
    hours: float
    gigabytes: float
    longest: float
    shortest: float
    kinds: Counter[str]
    histograms: dict[str, Counter[str]]

    def describe(self) -> str:
        """Text for a terminal, with a bar for every value of a histogram."""
        lines = [
            f"{self.clips} clips, {self.frames} frames, {self.hours:.2f} hours, "
            f"{self.gigabytes:.3f} GB, {self.shortest:.1f} to {self.longest:.1f} s each",
            *(f"  {number} x {kind}" for kind, number in self.kinds.most_common()),
        ]
        for name, histogram in self.histograms.items():
            lines.append(f"{name}:")
            width = max(map(len, histogram))
            most = max(histogram.values())
            for value, number in sorted(histogram.items()):
                bar = "#" * max(1, _BAR * number // most)
                lines.append(f"  {value:<{width}} {number:>6} {bar}")
        return "\n".join(lines)


def summarize(dataset: ClipDataset) -> DatasetSummary:
    """Count the entries of the index; no clip is read."""
    headers = [entry.header for entry in dataset.entries]
    seconds = [float(header["frames"] / Fraction(header["fps"])) for header in headers]
    return DatasetSummary(
        clips=len(headers),
        frames=sum(header["frames"] for header in headers),
        hours=sum(seconds) / 3600,
        gigabytes=sum(entry.bytes for entry in dataset.entries) / 1e9,
        longest=max(seconds),
        shortest=min(seconds),
        kinds=Counter(map(_describe_kind, headers)),
        histograms={
            name: Counter(str(header["metadata"].get(name, "(unknown)")) for header in headers)
            for name in HISTOGRAM_FIELDS
        },
    )


def draw_contact_sheet(
    dataset: ClipDataset, columns: int = 8, rows: int = 6, thumbnail: int = 128
) -> Image.Image:
    """Middle frames of clips spread evenly over the dataset, each with its key, emotion below.

    Raises:
        DatasetError: the dataset is cached as latents and has no frames.
    """
    number = min(columns * rows, len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, number).round().astype(int)
    label = 26
    height = -(-number // columns) * (thumbnail + label)
    sheet = Image.new("RGB", (columns * thumbnail, height), "white")
    pen = ImageDraw.Draw(sheet)
    for place, index in enumerate(chosen):
        clip = dataset[int(index)]
        middle = clip.number_of_frames // 2
        frames = clip.decode(middle, middle + 1).frames
        if frames is None:
            raise DatasetError(f"{dataset.root} holds latents only; draw the sheet before caching")
        left, top = place % columns * thumbnail, place // columns * (thumbnail + label)
        sheet.paste(Image.fromarray(frames[0]).resize((thumbnail, thumbnail)), (left, top))
        lines = [clip.key[-thumbnail // 6 :], str(clip.metadata.get("emotion", ""))]
        pen.multiline_text((left + 2, top + thumbnail), "\n".join(lines), "black", spacing=0)
    return sheet


def _describe_kind(header: dict[str, object]) -> str:
    fps = float(Fraction(str(header["fps"])))
    parts = [f"{fps:g} fps", f"{header['width']}x{header['height']}", str(header["pictures"])]
    parts += [str(header[name]) for name in ("expression_space", "head_keypoints") if header[name]]
    return " ".join(parts)
