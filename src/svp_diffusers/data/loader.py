"""Read clips for training, from a folder, over HTTP, or from the Hub, in a seeded random order.

The index knows the byte range of every clip, so an epoch is a permutation of all clips of which
each rank takes every `world_size`-th: every clip comes exactly once for any number of ranks and
workers, shuffling is over the whole dataset, and to resume is to start the permutation further on.
Only the bytes of the clips asked for are read. Our choice.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from svp_diffusers.data.clips import ClipSample, StoredClip
from svp_diffusers.data.shards import INDEX_NAME, ClipEntry, parse_clip, parse_index
from svp_diffusers.errors import ConfigurationError, DatasetError, MissingDependencyError

T = TypeVar("T")
Decode = Callable[[StoredClip, np.random.Generator], T]


def read_bytes(root: str, name: str, start: int | None = None, stop: int | None = None) -> bytes:
    """Read a file of a dataset, or bytes `start` to `stop` of it.

    Args:
        root: a folder, `http(s)://...`, `hf://datasets/owner/name`, or any other fsspec address.
        name: file name below it.

    Raises:
        DatasetError: it cannot be read, or the server ignores ranges.
        MissingDependencyError: the address needs a package that is not installed.
    """
    from fsspec.core import url_to_fs

    address = f"{root.rstrip('/')}/{name}"
    try:
        filesystem, path = url_to_fs(address)
    except ImportError as error:
        raise MissingDependencyError(
            f"to read {address}: pip install 'svp-diffusers[data]' ({error})"
        ) from error
    # By default the Hub's client reads 5 MB ahead of every range.
    options = {"cache_type": "none"} if address.startswith("hf://") else {}
    try:
        data = filesystem.cat_file(path, start, stop, **options)
    except Exception as error:  # each file system has its own exceptions
        raise DatasetError(f"cannot read {address}: {type(error).__name__}: {error}") from error
    if start is not None and stop is not None and len(data) != stop - start:
        raise DatasetError(
            f"{address}: asked for {stop - start} bytes, got {len(data)}; the file is shorter than "
            "the index says, or the server does not support range requests"
        )
    return bytes(data)


class ClipDataset:
    """The clips of a dataset, or of one split of it, still encoded.

    Args:
        root: a folder or an address, see `read_bytes`.
        split: "train", "validation", "test", or None for all.

    Raises:
        DatasetError: no readable index, or no clip in the split.
    """

    def __init__(self, root: str, split: str | None = None) -> None:
        self.root = root
        index = parse_index(read_bytes(root, INDEX_NAME).decode(), f"{root}/{INDEX_NAME}")
        self.entries: tuple[ClipEntry, ...] = tuple(
            clip for clip in index.clips if split in (None, clip.header["metadata"]["split"])
        )
        if not self.entries:
            raise DatasetError(f"{root} has no clip in split {split!r}")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> StoredClip:
        entry = self.entries[index]
        stop = entry.offset + entry.bytes
        return parse_clip(read_bytes(self.root, entry.shard, entry.offset, stop), entry)


def decode_all(clip: StoredClip, generator: np.random.Generator) -> ClipSample:
    """Decode the whole clip."""
    return clip.decode()


class RandomWindow:
    """Decode `frames` consecutive frames of a clip, from a random start; a shorter clip whole."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def __call__(self, clip: StoredClip, generator: np.random.Generator) -> ClipSample:
        """Decode a window of `clip`."""
        length = min(self.frames, clip.number_of_frames)
        start = int(generator.integers(clip.number_of_frames - length + 1))
        return clip.decode(start, start + length)


class ClipLoader(Generic[T]):
    """Batches of decoded clips; iterating gives the rest of one epoch.

        loader = ClipLoader(ClipDataset("talkers", "train"), batch_size=8, decode=RandomWindow(16))
        for batch in loader:
            ...
            state = loader.state_dict()  # resume with load_state_dict

    Args:
        dataset: what to read.
        batch_size: clips a batch on each rank; the last batch of an epoch may be smaller.
        decode: from the stored clip and a generator of its own (same seed, epoch and clip: same
            numbers, whatever the worker) to what goes into a batch; must pickle if `num_workers`.
        collate: from a list of those to a batch; default the list itself.
        seed: of the order and of the generators.
        rank: the number of this process among those that share the epoch.
        world_size: how many they are. Ranks differ by at most one clip an epoch.
        num_workers: processes that read and decode; 0 does it in this one.

    Raises:
        ConfigurationError: impossible batch size or rank, or more ranks than clips.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_size: int,
        decode: Decode[T] = decode_all,  # type: ignore[assignment]
        collate: Callable[[list[T]], Any] = list,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ConfigurationError(
                f"impossible batch_size {batch_size}, rank {rank} of world_size {world_size}"
            )
        if len(dataset) < world_size:
            raise ConfigurationError(f"{len(dataset)} clips cannot feed {world_size} ranks")
        self.seed = seed
        self.batch_size = batch_size
        self._sampler = _EpochSampler(len(dataset), seed, rank, world_size)
        self._batches = 0
        self._loader = DataLoader(
            _Decoded(dataset, decode, seed),
            batch_size=batch_size,
            sampler=self._sampler,
            collate_fn=collate,
            num_workers=num_workers,
            multiprocessing_context="spawn" if num_workers else None,
            persistent_workers=num_workers > 0,
        )

    @property
    def epoch(self) -> int:
        """Number of epochs finished."""
        return self._sampler.epoch

    def __iter__(self) -> Iterator[Any]:
        self._sampler.start = self._batches * self.batch_size
        for batch in self._loader:
            self._batches += 1
            yield batch
        self._sampler.epoch += 1
        self._batches = 0

    def state_dict(self) -> dict[str, int]:
        """Position after the last batch handed out, for `load_state_dict` of an equal loader."""
        return {"seed": self.seed, "epoch": self.epoch, "batches": self._batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batch at which `state_dict` was called.

        Raises:
            ConfigurationError: the state is of a loader with another seed.
        """
        if state["seed"] != self.seed:
            raise ConfigurationError(
                f"the state is of a loader with seed {state['seed']}, this one has {self.seed}"
            )
        self._sampler.epoch = state["epoch"]
        self._batches = state["batches"]


class _EpochSampler(Sampler[tuple[int, int]]):
    """Pairs (clip, epoch) of one rank, from position `start` of the epoch on."""

    def __init__(self, length: int, seed: int, rank: int, world_size: int) -> None:
        self.length, self.seed, self.rank, self.world_size = length, seed, rank, world_size
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        for clip in order[self.rank :: self.world_size][self.start :]:
            yield int(clip), self.epoch


class _Decoded(Dataset[T]):
    """What a worker process does for one (clip, epoch) pair."""

    def __init__(self, dataset: ClipDataset, decode: Decode[T], seed: int) -> None:
        self.dataset, self.decode, self.seed = dataset, decode, seed

    def __getitem__(self, item: tuple[int, int]) -> T:
        clip, epoch = item
        return self.decode(self.dataset[clip], np.random.default_rng((self.seed, epoch, clip)))
