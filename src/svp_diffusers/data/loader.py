"""Read clips, their members or single frames, from a folder, over HTTP, or from the Hub.

The index knows the byte range of every clip and of its members, so that any of them can be read in
any order, and only the bytes that are needed are read. Our choice.
"""

from collections.abc import Collection
from dataclasses import replace

from svp_diffusers.data.clips import StoredClip
from svp_diffusers.data.shards import (
    INDEX_NAME,
    ClipEntry,
    measure_members,
    parse_clip,
    parse_index,
)
from svp_diffusers.data.stored_array import StoredArray
from svp_diffusers.errors import DatasetError, MissingDependencyError


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
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, FileNotFoundError):
            reason = "it is missing; name a folder that `svp data synth`, `prepare` or `cache` made"
        raise DatasetError(f"cannot read {address}: {reason}") from error
    if start is not None and stop is not None and len(data) != stop - start:
        raise DatasetError(
            f"{address}: requested {stop - start} bytes, got {len(data)}; the file is shorter than "
            "the index says, or the server does not support range requests"
        )
    return bytes(data)


class ClipDataset:
    """The clips of a dataset, or of one split of it, still encoded.

    An index of an older release does not know the members' places: there, a clip is read whole the
    first time.

    Args:
        root: a folder or an address, see `read_bytes`.
        split: "train", "validation", "test", or None for all.

    Raises:
        DatasetError: no readable index, or no clip in the split.
    """

    def __init__(self, root: str, split: str | None = None) -> None:
        self.root = root
        index = parse_index(read_bytes(root, INDEX_NAME), f"{root}/{INDEX_NAME}")
        self.entries: list[ClipEntry] = [
            clip for clip in index.clips if split in (None, clip.header["metadata"]["split"])
        ]
        if not self.entries:
            raise DatasetError(f"{root} has no clip in split {split!r}")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> StoredClip:
        entry = self.entries[index]
        stop = entry.offset + entry.bytes
        return parse_clip(read_bytes(self.root, entry.shard, entry.offset, stop), entry)

    def read_members(self, index: int, names: Collection[str]) -> StoredClip:
        """A clip with those members alone (e.g. "expression.npy") that are named and that it has.

        Raises:
            DatasetError: they cannot be read.
        """
        entry, places = self.entries[index], self._locate(index)
        read = {
            name: read_bytes(self.root, entry.shard, *places[name])
            for name in names
            if name in places
        }
        return StoredClip(entry.key, entry.header, read)

    def has_member(self, index: int, name: str) -> bool:
        """Whether a clip has the member `name`, e.g. "reference_latents.npy"."""
        return name in self._locate(index)

    def open_array(self, index: int, name: str) -> StoredArray:
        """An array of a clip, e.g. its "latents", to read rows of.

        Raises:
            DatasetError: the clip has none, or it cannot be read.
        """
        entry, places = self.entries[index], self._locate(index)
        where, member = f"{name} of clip {entry.key!r} of {self.root}", f"{name}.npy"
        if member not in places:
            raise DatasetError(f"there are no {where}")
        begin, end = places[member]

        def read(start: int, stop: int) -> bytes:
            return read_bytes(self.root, entry.shard, begin + start, min(begin + stop, end))

        return StoredArray(read, where)

    def _locate(self, index: int) -> dict[str, tuple[int, int]]:
        entry = self.entries[index]
        if not entry.sizes:
            sizes, frame_sizes = measure_members(self[index])
            entry = replace(entry, sizes=sizes, frame_sizes=frame_sizes)
            self.entries[index] = entry
        return entry.locate()
