import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.loader import ClipDataset, ClipLoader, RandomWindow
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError, DatasetError

CLIPS = 13  # divisible by no number of ranks or workers used below


@pytest.fixture
def dataset_directory(tmp_path, make_clip):
    directory = tmp_path / "clips"
    with ShardWriter(directory, shard_bytes=95_000) as writer:
        for seed in range(CLIPS):
            writer.write(encode_clip(make_clip(key=f"clip_{seed:02d}", seed=seed)))
        writer.write(encode_clip(make_clip(key="held_out", split="test")))
    assert len(list(directory.glob("train-*.tar"))) == 3  # not divisible by two ranks
    return directory


def keys_of_an_epoch(loader):
    return [clip.key for batch in loader for clip in batch]


def make_loader(directory, **arguments):
    return ClipLoader(ClipDataset(str(directory), "train"), **({"batch_size": 2} | arguments))


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 2), (3, 0), (5, 0)])
def test_every_clip_comes_once_an_epoch(dataset_directory, ranks, workers):
    keys = []
    for rank in range(ranks):
        loader = make_loader(
            dataset_directory, rank=rank, world_size=ranks, num_workers=workers, seed=3
        )
        keys.append(keys_of_an_epoch(loader))
    together = [key for part in keys for key in part]
    assert sorted(together) == [f"clip_{seed:02d}" for seed in range(CLIPS)]
    assert max(map(len, keys)) - min(map(len, keys)) <= 1


def test_the_order_follows_the_seed_and_the_epoch(dataset_directory):
    loader = make_loader(dataset_directory, seed=1)
    first, second = keys_of_an_epoch(loader), keys_of_an_epoch(loader)
    assert first != second
    assert keys_of_an_epoch(make_loader(dataset_directory, seed=1)) == first
    assert keys_of_an_epoch(make_loader(dataset_directory, seed=2)) != first


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_after_n_batches_gives_the_next_batch(dataset_directory, workers):
    window = {"decode": RandomWindow(2), "num_workers": workers, "seed": 5}
    loader = make_loader(dataset_directory, **window)
    keys_of_an_epoch(loader)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    expected = list(iterator)

    resumed = make_loader(dataset_directory, **window)
    resumed.load_state_dict(state)
    batches = list(resumed)
    assert len(batches) == len(expected) == 4
    for batch, wanted in zip(batches, expected, strict=True):
        for clip, other in zip(batch, wanted, strict=True):
            assert clip.key == other.key
            np.testing.assert_array_equal(clip.frames, other.frames)
            np.testing.assert_array_equal(clip.waveform, other.waveform)
    assert resumed.epoch == loader.epoch == 2
    assert resumed.state_dict()["batches"] == 0


def test_a_state_of_another_seed_is_refused(dataset_directory):
    state = make_loader(dataset_directory, seed=1).state_dict()
    with pytest.raises(ConfigurationError, match="seed 1, this one has 2"):
        make_loader(dataset_directory, seed=2).load_state_dict(state)


def test_windows_differ_between_epochs_and_fit_short_clips(dataset_directory):
    loader = make_loader(dataset_directory, decode=RandomWindow(2))
    first, second = ({clip.key: clip for batch in loader for clip in batch} for _ in range(2))
    assert {len(clip.frames) for clip in first.values()} == {2}
    assert any(not np.array_equal(first[key].expression, second[key].expression) for key in first)
    whole = make_loader(dataset_directory, decode=RandomWindow(100))
    assert {len(clip.frames) for batch in whole for clip in batch} == {5}


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


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_over_http_equal_those_on_disk(dataset_directory, serve, workers):
    pytest.importorskip("aiohttp", reason="the extra `data` is not installed")
    address = serve(dataset_directory)
    assert keys_of_an_epoch(make_loader(address, num_workers=workers)) == keys_of_an_epoch(
        make_loader(dataset_directory)
    )


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


def test_impossible_ranks_are_refused(dataset_directory):
    with pytest.raises(ConfigurationError, match="rank 2 of world_size 2"):
        make_loader(dataset_directory, rank=2, world_size=2)
    with pytest.raises(ConfigurationError, match="13 clips cannot feed 14 ranks"):
        make_loader(dataset_directory, world_size=14)
