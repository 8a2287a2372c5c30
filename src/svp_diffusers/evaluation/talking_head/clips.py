"""Clips whose truth is known: what a video is made from, and what it is compared with."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.data.clips import ClipSample
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError, DatasetError


@dataclass(frozen=True)
class TrueClip:
    """A clip of `f` frames of which everything is known.

    Args:
        key: of the clip in its dataset.
        emotion: name of its style.
        fps: exact frame rate.
        frames: `(f, H, W, 3)` uint8.
        reference: `(H, W, 3)` uint8, the same person in another style, posed as in frame 0.
        waveform: `(n,)` float32, 16 kHz.
        head_keypoints: `(f, 8, 2)` pixels.
        expression: `(f, 52)` coefficients of the rig, order of `ARKIT_BLENDSHAPES`.
    """

    key: str
    emotion: str
    fps: Fraction
    frames: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    waveform: NDArray[np.float32]
    head_keypoints: NDArray[np.float32]
    expression: NDArray[np.float32]


class TrueClips:
    """Some clips of a split, evenly spread over it, decoded when they are asked for.

    Args:
        root: folder or address of a dataset of procedural talkers with pictures and references.
        split: "train", "validation" or "test".
        number: how many clips, or None for all.

    Raises:
        DatasetError: fewer clips than asked for, or (on access) clips that lack their truth.
        ConfigurationError: less than one clip is asked for.
    """

    def __init__(self, root: str, split: str, number: int | None) -> None:
        self._dataset = ClipDataset(root, split)
        available = len(self._dataset)
        number = available if number is None else number
        if number < 1:
            raise ConfigurationError(f"cannot measure on {number} clips; ask for at least one")
        if number > available:
            raise DatasetError(
                f"{number} clips are asked for, and split {split!r} of {root} has {available}"
            )
        self._indices = np.linspace(0, available - 1, number).round().astype(int)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> TrueClip:
        return _check(self._dataset[self._indices[number]].decode())

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotion of each clip; nothing is decoded."""
        entries = [self._dataset.entries[index] for index in self._indices]
        return tuple(str(entry.header["metadata"].get("emotion")) for entry in entries)


def _check(sample: ClipSample) -> TrueClip:
    if (
        sample.frames is None
        or sample.reference is None
        or sample.head_keypoints is None
        or sample.expression is None
        or sample.expression_space != "arkit52"
        or "emotion" not in sample.metadata
    ):
        raise DatasetError(
            f"clip {sample.key!r} lacks frames, a reference, head keypoints, arkit52 expressions "
            "or its emotion; make the dataset anew with `svp data synth`, and give it uncached"
        )
    return TrueClip(
        sample.key,
        str(sample.metadata["emotion"]),
        sample.fps,
        sample.frames,
        sample.reference,
        sample.waveform,
        sample.head_keypoints,
        sample.expression,
    )


def mark_mouth(head_keypoints: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """Where the mouth and chin may be: `(f, height, width)`, from `(f, 8, 2)` head keypoints.

    A rectangle that turns with the head, 1.5 eye distances wide, from 0.45 to 1.65 eye distances
    below the eyes; measured on the procedural talkers, whose chins it holds with the jaw open.
    """
    left, right = head_keypoints[:, 6], head_keypoints[:, 7]
    middle, across = (left + right) / 2, right - left
    distance = np.linalg.norm(across, axis=1, keepdims=True)
    across = across / distance
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    y, x = np.mgrid[:height, :width]
    offsets = np.stack([x, y], axis=-1)[None] - middle[:, None, None]
    offsets = offsets / distance[:, None, None]
    sideways = np.abs(np.einsum("fhwc,fc->fhw", offsets, across))
    below = np.einsum("fhwc,fc->fhw", offsets, down)
    return np.asarray((sideways < 0.75) & (below > 0.45) & (below < 1.65))
