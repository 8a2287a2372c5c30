"""Clips whose truth is known: what a video is made from, and what it is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.data.clips import ClipSample
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.people import find_person
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.talkers.subject import LOOKS


@dataclass(frozen=True)
class TrueClip:
    """A clip of `f` frames of which everything is known.

    Args:
        key: of the clip in its dataset.
        person: who is seen; intervals take people as independent, clips of one person not.
        emotion: name of its style.
        fps: exact frame rate.
        frames: `(f, H, W, 3)` uint8.
        reference: `(H, W, 3)` uint8, the same person in another style, posed as in frame 0.
        waveform: `(n,)` float32, 16 kHz.
        head_keypoints: `(f, 8, 2)` pixels.
        expression: `(f, 52)` coefficients of the rig, order of `ARKIT_BLENDSHAPES`.
    """

    key: str
    person: str
    emotion: str
    fps: Fraction
    frames: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    waveform: NDArray[np.float32]
    head_keypoints: NDArray[np.float32]
    expression: NDArray[np.float32]


class TrueClips:
    """Some clips of a split, evenly spread over it, decoded on access.

    Args:
        root: folder or address of a dataset of procedural talkers with pictures and references.
        split: "train", "validation" or "test".
        number: how many clips, or None for all.
        look: of the talkers, a name of `LOOKS`; None for all.

    Raises:
        DatasetError: fewer clips than requested, or (on access) clips that lack their truth.
        ConfigurationError: less than one clip is requested.
    """

    def __init__(self, root: str, split: str, number: int | None, look: str | None = None) -> None:
        self._dataset = ClipDataset(root, split)
        chosen = select_look(self._dataset, look)
        available = len(chosen)
        number = available if number is None else number
        if number < 1:
            raise ConfigurationError(f"cannot measure on {number} clips; ask for at least one")
        if number > available:
            raise DatasetError(
                f"{number} clips are requested, and split {split!r} of {root} has {available}"
                + (f" {look} ones" if look else "")
            )
        self._indices = np.array(chosen)[np.linspace(0, available - 1, number).round().astype(int)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> TrueClip:
        return _check(self._dataset[self._indices[number]].decode())

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotion of each clip; nothing is decoded."""
        return tuple(str(metadata.get("emotion")) for metadata in self._metadata)

    @property
    def people(self) -> tuple[str, ...]:
        """Who is seen in each clip; nothing is decoded."""
        return tuple(str(find_person(metadata)) for metadata in self._metadata)

    @property
    def _metadata(self) -> list[Mapping[str, Any]]:
        return [self._dataset.entries[index].header["metadata"] for index in self._indices]


def select_look(clips: ClipDataset, look: str | None) -> list[int]:
    """The clips of talkers of a look, a name of `LOOKS`; of None, all."""
    headers = [entry.header["metadata"] for entry in clips.entries]
    return [
        index
        for index, metadata in enumerate(headers)
        if look is None or metadata.get("look", LOOKS[0]) == look
    ]


def _check(sample: ClipSample) -> TrueClip:
    person = find_person(sample.metadata)
    if (
        sample.frames is None
        or sample.reference is None
        or sample.head_keypoints is None
        or sample.expression is None
        or sample.expression_space != "arkit52"
        or person is None
        or "emotion" not in sample.metadata
    ):
        raise DatasetError(
            f"clip {sample.key!r} lacks frames, a reference, head keypoints, arkit52 expressions, "
            "its person or its emotion; make the dataset again with `svp data synth`, and give it "
            "uncached"
        )
    return TrueClip(
        sample.key,
        person,
        str(sample.metadata["emotion"]),
        sample.fps,
        sample.frames,
        sample.reference,
        sample.waveform,
        sample.head_keypoints,
        sample.expression,
    )
