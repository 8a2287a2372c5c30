"""Single frames of a dataset of talking clips, in any order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError, DatasetError


@dataclass(frozen=True)
class FrameBatch:
    """`n` frames and what is known of each.

    Args:
        pixels: `(n, H, W, 3)` uint8 RGB.
        head_keypoints: `(n, 8, 2)` pixels.
        expression: `(n, expression_dim)` float32, in the dataset's expression space.
    """

    pixels: np.ndarray
    head_keypoints: np.ndarray
    expression: np.ndarray


class FrameDataset:
    """The frames of one split, all clips after one another.

    Args:
        root: a folder or an address, see `ClipDataset`.
        split: "train", "validation" or "test".

    Raises:
        DatasetError: no readable index, no clip in the split, clips without frames, expression or
            eight head keypoints, or of several sizes or expression spaces.
    """

    def __init__(self, root: str, split: str) -> None:
        self.clips = ClipDataset(root, split)
        headers = [entry.header for entry in self.clips.entries]
        for entry in self.clips.entries:
            header = entry.header
            if header["pictures"] != "jpeg" or header["head_keypoints"] != "head8":
                raise DatasetError(
                    f"clip {entry.key!r} of {root} lacks frames or eight head keypoints; name a "
                    "dataset that is not cached as latents"
                )
        kinds = {(h["height"], h["width"], h["expression_space"]) for h in headers}
        if len(kinds) > 1 or None in next(iter(kinds)):
            raise DatasetError(
                f"the clips of {root} must all have an expression and frames of one size; they "
                f"have (height, width, expression space) {sorted(map(str, kinds))}"
            )
        self.height, self.width, self.expression_space = next(iter(kinds))
        self._ends = np.cumsum([header["frames"] for header in headers])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, indices: np.ndarray) -> FrameBatch:
        """Read the frames with these numbers `(n,)`, and nothing else of their clips.

        Raises:
            DatasetError: a frame cannot be read, or is damaged.
        """
        clips = self.find_clips(indices)
        frames = indices - (self._ends[clips] - np.diff(self._ends, prepend=0)[clips])
        read: list[tuple[np.ndarray, ...]] = [()] * len(indices)
        for clip in np.unique(clips):
            (places,) = np.nonzero(clips == clip)
            for place, values in zip(
                places, self._read_clip(int(clip), frames[places]), strict=True
            ):
                read[place] = values
        return FrameBatch(*(np.stack(values) for values in zip(*read, strict=True)))

    def find_clips(self, indices: np.ndarray) -> np.ndarray:
        """The positions in `clips` of those that hold these frames."""
        return np.searchsorted(self._ends, indices, side="right")

    def read_references(self, clips: np.ndarray) -> np.ndarray:
        """The picture `(H, W, 3)` of the person that comes with each of these clips, or the first
        frame of one that has none.

        Raises:
            DatasetError: a picture cannot be read, or is damaged.
        """
        pictures = []
        for clip in clips.tolist():
            own = self.clips.has_member(clip, "reference.jpg")
            name = "reference" if own else "000000"
            pictures.append(self.clips.read_members(clip, {f"{name}.jpg"}).picture(name))
        return np.stack(pictures)

    def _read_clip(self, clip: int, frames: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Picture, head keypoints and expression of each of these frames."""
        stored = self.clips.read_members(clip, {f"{frame:06d}.jpg" for frame in frames.tolist()})
        pictures = [stored.picture(f"{frame:06d}") for frame in frames.tolist()]
        keypoints, expression = (
            self.clips.open_array(clip, name).read_rows(frames)
            for name in ("head_keypoints", "expression")
        )
        return zip(pictures, keypoints, expression, strict=True)

    def spread(self, number: int) -> np.ndarray:
        """`number` frame numbers at equal distances over the split, or all if there are fewer."""
        return np.unique(np.linspace(0, len(self) - 1, number).round().astype(int))

    def draw(
        self,
        number: int,
        seed: list[int],
        rank: int,
        world_size: int,
        frames_per_clip: int = 1,
    ) -> tuple[np.ndarray, int]:
        """Draw `number` frame numbers at random for all processes together.

        Args:
            number: of all processes; a multiple of `frames_per_clip`.
            seed: of the draw.
            rank, world_size: this process among all.
            frames_per_clip: so many in a row are of one clip.

        Returns:
            The part of this process, and the position of its first frame in the whole.

        Raises:
            ConfigurationError: `number` is not a multiple of the number of processes.
        """
        if number % world_size:
            raise ConfigurationError(
                f"a batch of {number} frames cannot be shared by {world_size} processes"
            )
        share = number // world_size
        generator = np.random.default_rng(seed)
        drawn = generator.integers(len(self), size=number // frames_per_clip)
        if frames_per_clip > 1:
            clips = self.find_clips(drawn).repeat(frames_per_clip)
            ends = self._ends[clips]
            drawn = generator.integers(ends - np.diff(self._ends, prepend=0)[clips], ends)
        return drawn[rank * share : (rank + 1) * share], rank * share


def to_pixels(frames: np.ndarray) -> Tensor:
    """Frames (n, H, W, 3) uint8 as (n, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
