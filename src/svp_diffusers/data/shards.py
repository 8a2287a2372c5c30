"""Datasets on disk: tar shards in the WebDataset convention, and one `index.json` with checksums.

The shards are plain tar files that the `webdataset` library and `tar` itself can read. The index
adds what a stream of tar files lacks: for every clip its metadata, the byte range it occupies and
those of its members, so that clips and single frames can be read in any order, and for every shard
its SHA-256. Equal clips written in equal order give equal bytes. Our choice.
"""

import hashlib
import io
import json
import math
import tarfile
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from svp_diffusers.data.clips import FRAME_NAME, ClipSample, StoredClip, encode_clip, encode_header
from svp_diffusers.data.index_rules import check_index
from svp_diffusers.errors import DatasetError
from svp_diffusers.media.documents import parse_json
from svp_diffusers.media.locking import WORK_PATIENCE_SECONDS, hold
from svp_diffusers.media.manifest import hash_file
from svp_diffusers.media.output import atomic_path, check_output, remove_partial
from svp_diffusers.pipelines.checkpoint_svp import exists

__all__ = [
    "INDEX_NAME",
    "ClipEntry",
    "ClipSample",
    "DatasetIndex",
    "ShardEntry",
    "ShardWriter",
    "StoredClip",
    "encode_clip",
    "parse_clip",
    "parse_index",
    "read_index",
    "verify",
]

INDEX_NAME = "index.json"
_FORMAT = "svp-clips-1"


@dataclass(frozen=True)
class ShardEntry:
    """A shard: file name, split, size in bytes, number of clips, SHA-256 of the file."""

    name: str
    split: str
    bytes: int
    clips: int
    sha256: str


@dataclass(frozen=True)
class ClipEntry:
    """Where a clip lies (shard, byte range) and its header (fps, frames, metadata, ...).

    sizes: (name, bytes) of its members in their order, all but the frames; none in an index that
        an older release wrote.
    frame_sizes: bytes of its JPEG frames, which come last.
    """

    key: str
    shard: str
    offset: int
    bytes: int
    header: dict[str, Any]
    sizes: tuple[tuple[str, int], ...] = ()
    frame_sizes: Sequence[int] = field(default_factory=lambda: array("I"))

    def locate(self) -> dict[str, tuple[int, int]]:
        """First byte and the one after the last, in the shard, of every member by its name."""
        places, start = {}, self.offset
        frames = ((f"{number:06d}.jpg", size) for number, size in enumerate(self.frame_sizes))
        for name, size in (*self.sizes, *frames):
            places[name] = (start + tarfile.BLOCKSIZE, start + tarfile.BLOCKSIZE + size)
            start += tarfile.BLOCKSIZE * (1 + math.ceil(size / tarfile.BLOCKSIZE))
        return places


@dataclass(frozen=True)
class DatasetIndex:
    """All shards and clips of a dataset, in the order they were written."""

    shards: tuple[ShardEntry, ...]
    clips: tuple[ClipEntry, ...]

    def dump(self) -> str:
        """Serialize to JSON with a checksum of its own content."""
        content = {
            "format": _FORMAT,
            "shards": [asdict(shard) for shard in self.shards],
            "clips": [{**vars(clip), "frame_sizes": list(clip.frame_sizes)} for clip in self.clips],
        }
        return json.dumps(content | {"sha256": _digest(content)}, sort_keys=True) + "\n"


def parse_index(data: bytes, where: str) -> DatasetIndex:
    """Parse `index.json`.

    Raises:
        DatasetError: not JSON, another format, changed since it was written, or of wrong values.
    """
    try:
        content = parse_json(data)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        if content.get("format") != _FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, not {_FORMAT!r}")
        if content.pop("sha256", None) != _digest(content):
            raise ValueError("it was changed after it was written; copy the dataset again")
        check_index(content)
    except ValueError as error:
        raise DatasetError(f"{where} is not a dataset index: {error}") from error
    return DatasetIndex(
        tuple(ShardEntry(**_known(shard, ShardEntry)) for shard in content["shards"]),
        tuple(_parse_entry(**_known(clip, ClipEntry)) for clip in content["clips"]),
    )


def _known(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Those that `kind` has; others, of a later release, are passed over."""
    return {field.name: values[field.name] for field in fields(kind) if field.name in values}


def _parse_entry(
    sizes: Sequence[Sequence[Any]] = (), frame_sizes: Sequence[int] = (), **others: Any
) -> ClipEntry:
    named = tuple((str(name), int(size)) for name, size in sizes)
    return ClipEntry(**others, sizes=named, frame_sizes=array("I", frame_sizes))


def read_index(directory: Path) -> DatasetIndex:
    """Read the index of a dataset on disk.

    Raises:
        DatasetError: there is none, or `parse_index` refuses it.
    """
    path = directory / INDEX_NAME
    if not (exists(path) and path.is_file()):
        raise DatasetError(
            f"{str(directory)[:200]} holds no {INDEX_NAME}: not a dataset, or its writing was not "
            "finished"
        )
    return parse_index(path.read_bytes(), str(path))


class ShardWriter:
    """Write clips into shards, one series of shards a split; the index comes last, on success only.

        with ShardWriter(directory) as writer:
            writer.write(encode_clip(sample))

    Args:
        directory: created if absent.
        shard_bytes: a shard is closed once it holds this many bytes.

    Raises:
        DatasetError: the directory already holds an index, or a key comes twice.
        OutputError: the directory cannot be written, another process writes it, or the disk is
            full.
    """

    def __init__(self, directory: Path, shard_bytes: int = 256 * 2**20) -> None:
        if check_output(directory / INDEX_NAME).exists():
            raise DatasetError(
                f"{directory} already holds a finished dataset; choose another folder"
            )
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._held = ExitStack()
        self.shard_bytes = shard_bytes
        self._open: dict[str, _OpenShard] = {}
        self._shards: list[ShardEntry] = []
        self._clips: list[ClipEntry] = []
        self._keys: set[str] = set()

    def __enter__(self) -> "ShardWriter":
        self._held.enter_context(hold(self.directory, "dataset", patience=WORK_PATIENCE_SECONDS))
        remove_partial(self.directory)  # of a process that was killed
        return self

    def __exit__(self, *exception: Any) -> None:
        with self._held:
            self._close(*exception)

    def _close(self, *exception: Any) -> None:
        stack = ExitStack()
        for shard in self._open.values():
            stack.push(shard.stack)
        stack.__exit__(*exception)
        if exception[0] is None:
            self._shards += [shard.describe() for shard in self._open.values()]
            with atomic_path(self.directory / INDEX_NAME) as path:
                path.write_text(self.index().dump())

    def write(self, clip: StoredClip) -> None:
        """Append a clip to the open shard of its split."""
        if clip.key in self._keys:
            raise DatasetError(f"two clips have the key {clip.key!r}")
        self._keys.add(clip.key)
        split = clip.metadata["split"]
        if split not in self._open:
            number = sum(shard.split == split for shard in self._shards)
            self._open[split] = _OpenShard(self.directory, f"{split}-{number:06d}.tar", split)
        shard = self._open[split]
        self._clips.append(shard.append(clip))
        if shard.bytes >= self.shard_bytes:
            del self._open[split]
            shard.stack.close()
            self._shards.append(shard.describe())

    def index(self) -> DatasetIndex:
        """Index of the shards closed and clips written so far."""
        return DatasetIndex(tuple(sorted(self._shards, key=lambda s: s.name)), tuple(self._clips))


class _OpenShard:
    """A tar file that appears under its name when `stack` is closed without an exception."""

    def __init__(self, directory: Path, name: str, split: str) -> None:
        self.path = directory / name
        self.split = split
        self.clips = 0
        self.stack = ExitStack()
        temporary = self.stack.enter_context(atomic_path(self.path))
        self.tar = self.stack.enter_context(
            tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        )

    @property
    def bytes(self) -> int:
        return int(self.tar.offset)

    def append(self, clip: StoredClip) -> ClipEntry:
        offset = self.bytes
        for name, data in _list_members(clip).items():
            member = tarfile.TarInfo(f"{clip.key}.{name}")
            member.size = len(data)
            self.tar.addfile(member, io.BytesIO(data))
        self.clips += 1
        size = self.bytes - offset
        return ClipEntry(
            clip.key, self.path.name, offset, size, dict(clip.header), *measure_members(clip)
        )

    def describe(self) -> ShardEntry:
        size = self.path.stat().st_size
        return ShardEntry(self.path.name, self.split, size, self.clips, hash_file(self.path))


def measure_members(clip: StoredClip) -> tuple[tuple[tuple[str, int], ...], Sequence[int]]:
    """`sizes` and `frame_sizes` of a clip's entry in the index."""
    sizes = {name: len(data) for name, data in _list_members(clip).items()}
    frames = [sizes.pop(name) for name in clip.members if FRAME_NAME.fullmatch(name)]
    return tuple(sizes.items()), array("I", frames)


def _list_members(clip: StoredClip) -> dict[str, bytes]:
    return {"json": encode_header(clip.header), **clip.members}


def parse_clip(data: bytes, entry: ClipEntry) -> StoredClip:
    """Parse the bytes of one clip, cut out of its shard.

    Raises:
        DatasetError: the bytes are not those of the clip in the index.
    """
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                members[member.name.removeprefix(f"{entry.key}.")] = stream.read()
        header = parse_json(members.pop("json"))
    except (tarfile.TarError, ValueError, KeyError, AssertionError, OverflowError) as error:
        raise DatasetError(
            f"clip {entry.key!r} in {entry.shard} is damaged ({error}); run `svp data verify`"
        ) from error
    if header != entry.header:
        raise DatasetError(f"clip {entry.key!r} in {entry.shard} is not the one in the index")
    return StoredClip(entry.key, header, members)


def verify(directory: Path) -> list[str]:
    """Compare every shard with the index; return one sentence a problem, none if all is well.

    Raises:
        DatasetError: the index itself is missing or damaged.
    """
    index = read_index(directory)
    expected = {shard.name: shard for shard in index.shards}
    present = {path.name for path in directory.glob("*.tar")}
    problems = [f"{name}: missing" for name in sorted(expected.keys() - present)]
    problems += [f"{name}: not in the index" for name in sorted(present - expected.keys())]
    for name in sorted(expected.keys() & present):
        size = (directory / name).stat().st_size
        if size != expected[name].bytes:
            problems.append(f"{name}: {size} bytes, expected {expected[name].bytes}")
        elif hash_file(directory / name) != expected[name].sha256:
            problems.append(f"{name}: content differs from its SHA-256")
    return problems


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
