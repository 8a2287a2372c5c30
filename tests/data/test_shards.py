import json
import subprocess
import sys
import tarfile

import pytest

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.shards import ShardWriter, parse_clip, read_index, verify
from svp_diffusers.errors import DatasetError


def write_dataset(directory, make_clip, clips=6):
    with ShardWriter(directory, shard_bytes=20_000) as writer:
        for seed in range(clips):
            split = "test" if seed == clips - 1 else "train"
            writer.write(encode_clip(make_clip(key=f"clip_{seed}", seed=seed, split=split)))
    return read_index(directory)


def test_written_clips_are_found_again_by_the_index(tmp_path, make_clip):
    index = write_dataset(tmp_path, make_clip)
    assert [clip.key for clip in index.clips] == [f"clip_{seed}" for seed in range(6)]
    assert len(index.shards) > 2
    assert index.shards[0].name == "test-000000.tar"
    for seed, entry in enumerate(index.clips):
        data = (tmp_path / entry.shard).read_bytes()[entry.offset : entry.offset + entry.bytes]
        expected = encode_clip(
            make_clip(key=entry.key, seed=seed, split=entry.header["metadata"]["split"])
        )
        assert parse_clip(data, entry) == expected


def test_the_same_clips_give_the_same_files(tmp_path, make_clip):
    for name in ("one", "two"):
        write_dataset(tmp_path / name, make_clip)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_verify_is_silent_on_a_good_dataset_and_names_each_fault(tmp_path, make_clip):
    index = write_dataset(tmp_path, make_clip)
    assert verify(tmp_path) == []
    flipped, missing, shortened = (shard.name for shard in index.shards[:3])
    data = bytearray((tmp_path / flipped).read_bytes())
    data[1500] ^= 1
    (tmp_path / flipped).write_bytes(data)
    (tmp_path / missing).unlink()
    (tmp_path / shortened).write_bytes((tmp_path / shortened).read_bytes()[:-1])
    (tmp_path / "extra.tar").write_bytes(b"")
    problems = verify(tmp_path)
    assert len(problems) == 4
    for name, word in [
        (missing, "missing"),
        ("extra.tar", "not in the index"),
        (flipped, "SHA-256"),
        (shortened, "bytes, expected"),
    ]:
        assert any(problem.startswith(name) and word in problem for problem in problems)


def test_a_changed_index_is_refused(tmp_path, make_clip):
    write_dataset(tmp_path, make_clip)
    content = json.loads((tmp_path / "index.json").read_text())
    content["clips"][0]["offset"] += 512
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="was changed after it was written"):
        verify(tmp_path)


def test_a_folder_without_an_index_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no index\.json"):
        verify(tmp_path)


def test_a_failure_leaves_no_index_and_no_half_shard(tmp_path, make_clip):
    clip = encode_clip(make_clip())

    def write_twice():
        with ShardWriter(tmp_path) as writer:
            writer.write(clip)
            writer.write(clip)

    with pytest.raises(DatasetError, match="two clips have the key"):
        write_twice()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_dataset_is_not_overwritten(tmp_path, make_clip):
    write_dataset(tmp_path, make_clip)
    with pytest.raises(DatasetError, match="already holds a finished dataset"):
        ShardWriter(tmp_path)


def test_bytes_of_another_clip_are_refused(tmp_path, make_clip):
    index = write_dataset(tmp_path, make_clip)
    first, second = index.clips[:2]
    data = (tmp_path / first.shard).read_bytes()[first.offset : first.offset + first.bytes]
    with pytest.raises(DatasetError, match="damaged"):
        parse_clip(data, second)


def test_webdataset_reads_the_shards(tmp_path, make_clip):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    index = write_dataset(tmp_path, make_clip)
    shard = next(shard for shard in index.shards if shard.split == "train")
    samples = list(webdataset.WebDataset(str(tmp_path / shard.name), shardshuffle=False))
    assert len(samples) == shard.clips
    assert {"flac", "json", "expression.npy", "000000.jpg"} <= samples[0].keys()


def test_members_of_a_shard_carry_no_time_nor_owner(tmp_path, make_clip):
    index = write_dataset(tmp_path, make_clip)
    with tarfile.open(tmp_path / index.shards[0].name) as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    script = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from svp_diffusers.data.shards import ClipSample, ShardWriter, encode_clip
from svp_diffusers.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), np.uint8)
clip = ClipSample("a", Fraction(25), np.zeros(10, np.float32), {"split": "train"}, frames=noise)
try:
    with ShardWriter(Path(sys.argv[1])) as writer:
        writer.write(encode_clip(clip))
except OutputError as error:
    print("told:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert "told:" in done.stdout
    assert "train-000000.tar cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []
