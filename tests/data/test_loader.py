import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from svp_diffusers.data import loader
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.frames import FrameDataset
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import DatasetError

CLIPS = 13


@pytest.fixture
def dataset_directory(tmp_path, make_clip):
    directory = tmp_path / "clips"
    with ShardWriter(directory, shard_bytes=95_000) as writer:
        for seed in range(CLIPS):
            writer.write(encode_clip(make_clip(key=f"clip_{seed:02d}", seed=seed)))
        writer.write(encode_clip(make_clip(key="held_out", split="test")))
    assert len(list(directory.glob("train-*.tar"))) == 3
    return directory


def test_members_and_rows_are_those_of_whole_clips(dataset_directory):
    dataset = ClipDataset(str(dataset_directory), "train")
    assert len(dataset) == CLIPS
    for index in (0, 7, 12):
        whole = dataset[index]
        names = ("flac", "expression.npy", "000003.jpg", "latents.npy")
        part = dataset.read_members(index, names)
        assert part.members == {name: whole.members[name] for name in names[:3]}
        assert part.metadata == whole.metadata
        rows = np.array([4, 0, 1, 4])
        read = dataset.open_array(index, "expression").read_rows(rows)
        np.testing.assert_array_equal(read, whole.decode().expression[rows])
        assert dataset.has_member(index, "reference.jpg")
        assert not dataset.has_member(index, "latents.npy")


def test_what_a_clip_does_not_hold_is_named(dataset_directory):
    dataset = ClipDataset(str(dataset_directory), "train")
    with pytest.raises(DatasetError, match="no latents of clip 'clip_03'"):
        dataset.open_array(3, "latents")
    with pytest.raises(DatasetError, match="has 5 rows; row 5 is wanted"):
        dataset.open_array(3, "expression").read_rows(np.array([5]))
    place = dataset.entries[3].locate()["expression.npy"][0]
    shard = dataset_directory / dataset.entries[3].shard
    content = bytearray(shard.read_bytes())
    content[place : place + 6] = b"broken"
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"expression of clip .clip_03. .* is damaged"):
        dataset.open_array(3, "expression")


def test_single_frames_are_read_without_the_others(tmp_path, make_clip, monkeypatch):
    with ShardWriter(tmp_path / "long") as writer:
        for seed in range(2):
            writer.write(encode_clip(make_clip(key=f"c{seed}", seed=seed, frames=200)))
    frames = FrameDataset(str(tmp_path / "long"), "train")
    clip = frames.clips[1].decode()
    read = []
    read_bytes = loader.read_bytes

    def count(*arguments):
        data = read_bytes(*arguments)
        read.append(len(data))
        return data

    monkeypatch.setattr(loader, "read_bytes", count)
    batch = frames.read(np.array([399, 201, 399]))
    for name, values in (("pixels", clip.frames), ("expression", clip.expression)):
        np.testing.assert_array_equal(getattr(batch, name), values[[199, 1, 199]])
    np.testing.assert_array_equal(batch.head_keypoints, clip.head_keypoints[[199, 1, 199]])
    assert sum(read) < frames.clips.entries[1].bytes / 50


def test_a_clip_without_a_reference_gives_its_first_frame(tmp_path, make_clip):
    samples = [replace(make_clip(key=f"c{seed}", seed=seed), reference=None) for seed in range(3)]
    reference = 255 - samples[1].frames[0]
    samples[1] = replace(samples[1], reference=reference)
    with ShardWriter(tmp_path / "clips") as writer:
        for sample in samples:
            writer.write(encode_clip(sample))
    frames = FrameDataset(str(tmp_path / "clips"), "train")
    read = frames.read_references(np.array([2, 1]))
    assert np.array_equal(read[0], frames.clips[2].decode().frames[0])
    assert np.array_equal(read[1], frames.clips[1].decode().reference)
    assert np.array_equal(frames.find_clips(np.arange(len(frames))[:: len(frames) // 3]), [0, 1, 2])


class _RangeHandler(http.server.SimpleHTTPRequestHandler):
    """The standard library's file server with range requests, which object stores have."""

    ranges = True

    def do_GET(self):
        data = Path(self.translate_path(self.path)).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and self.ranges:
            data = data[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206 if wanted and self.ranges else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(directory, handler=_RangeHandler, **attributes):
        handler = type("Handler", (handler,), attributes)
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=str(directory))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()


def test_clips_over_http_equal_those_on_disk(dataset_directory, serve):
    pytest.importorskip("aiohttp", reason="the extra `data` is not installed")
    remote, local = (
        ClipDataset(root, "train") for root in (serve(dataset_directory), str(dataset_directory))
    )
    assert len(remote) == len(local) == CLIPS
    assert [remote[index] for index in range(CLIPS)] == [local[index] for index in range(CLIPS)]
    names = ("flac", "000002.jpg")
    assert remote.read_members(5, names) == local.read_members(5, names)


def test_a_server_without_ranges_is_named(dataset_directory, serve):
    pytest.importorskip("aiohttp", reason="the extra `data` is not installed")
    dataset = ClipDataset(serve(dataset_directory, ranges=False))
    with pytest.raises(DatasetError, match="range requests"):
        dataset[0]


class _HubHandler(_RangeHandler):
    """The three requests of the Hub that reading a dataset repository takes."""

    def do_GET(self):
        repository = "/api/datasets/someone/clips"
        if self.path.startswith(f"{repository}/tree"):
            files = Path(self.directory).iterdir()
            self.reply(
                [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                    for f in files
                ]
            )
        elif self.path.startswith(repository):
            self.reply({"id": "someone/clips", "sha": "0" * 40})
        elif self.path.startswith("/datasets/someone/clips/resolve/main/"):
            self.path = "/" + self.path.rpartition("/")[2]
            if "Range" in self.headers:
                self.ranges_asked.append(self.headers["Range"])
            super().do_GET()
        else:
            self.reply({})

    def reply(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def test_clips_are_read_from_the_hub_by_their_ranges(dataset_directory, serve):
    """Through the Hub's real client, in a process whose Hub is a server of ours."""
    asked = []
    address = serve(dataset_directory, _HubHandler, ranges_asked=asked)
    script = """
from svp_diffusers.data.loader import ClipDataset
dataset = ClipDataset("hf://datasets/someone/clips", "train")
print(len(dataset), dataset[7].decode().key)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "13 clip_07\n", done.stderr
    entry = ClipDataset(str(dataset_directory), "train").entries[7]
    assert asked == [f"bytes={entry.offset}-{entry.offset + entry.bytes - 1}"]


def test_what_cannot_be_read_is_named(dataset_directory, tmp_path):
    with pytest.raises(DatasetError, match="cannot read"):
        ClipDataset(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="no clip in split 'validation'"):
        ClipDataset(str(dataset_directory), "validation")
    dataset = ClipDataset(str(dataset_directory), "test")
    (dataset_directory / "test-000000.tar").unlink()
    with pytest.raises(DatasetError, match=r"test-000000\.tar"):
        dataset[0]
