import hashlib
import json
import random
import subprocess
import sys
import tarfile

import pytest

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.loader import ClipDataset
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


def change(content, path, value):
    """Put a value into an index, at a path of keys and numbers; `...` takes what is there away."""
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    for key in parents:
        content = content[key]
    if value is ...:
        del content[last]
    else:
        content[last] = value


WRONG = {
    "shards": [None, {}, 3],
    "shards.0": ["a", None],
    "shards.0.name": ["../x.tar", "/etc/x.tar", "a/b.tar", "train-000000", ".x.tar", 3, ...],
    "shards.0.split": ["all", 3, ...],
    "shards.0.bytes": [-1, "9", 1.5, 10**30, True, ...],
    "shards.0.clips": [99, -1, ...],
    "shards.0.sha256": ["", 3, ...],
    "clips": [None, {}, "clips"],
    "clips.1.key": ["clip_0", "", "../x", "a b", "k" * 81, "a\n", 3, ...],
    "clips.0.shard": ["other.tar", "../x.tar", ...],
    "clips.0.offset": [10**9, -512, 0.5, ...],
    "clips.0.bytes": [10**9, -1, ...],
    "clips.0.sizes": [None, [["json"]], [["json", -1]], [["json", 2**40]], [[3, 3]], [3]],
    "clips.0.frame_sizes": [None, [-1], [2**32], ["1"], {}],
    "clips.0.header": [None, [], ...],
    "clips.0.header.fps": [25, "0", "1/0", "1e999999999", "-25", "1000", "٢٥", "25\n", ...],
    "clips.0.header.frames": [0, -1, 2.0, "5", 10**30, ...],
    "clips.0.header.samples": [-1, "5", 2**40, ...],
    "clips.0.header.pictures": ["png", None, ...],
    "clips.0.header.height": [0, -32, 10**6, "32", ...],
    "clips.0.header.expression_space": ["flame50", 3, ...],
    "clips.0.header.head_keypoints": ["68", 8, ...],
    "clips.0.header.metadata": [None, [], "train", ...],
    "clips.0.header.metadata.split": ["all", None, ["train"], ...],
}
CASES = [(path, value) for path, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("path", "value"), CASES)
def test_a_wrong_value_in_an_index_is_named_with_its_place(tmp_path, make_clip, path, value):
    write_dataset(tmp_path, make_clip, clips=3)
    content = json.loads((tmp_path / "index.json").read_text())
    del content["sha256"]
    change(content, path, value)
    text = json.dumps(content, sort_keys=True)
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / "index.json").write_text(json.dumps(content))
    for read in (lambda: read_index(tmp_path), lambda: ClipDataset(str(tmp_path))):
        with pytest.raises(DatasetError, match=r"index\.json is not a dataset index: .*"):
            read()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"\x00" * 99, b"[" * 100_000),
        *(b'{"format": "svp-clips-1"}', b'{"format": NaN}', b'{"a": 1e999}'),
        *(b'{"format": {}}', b'{"a": ' + b"1" * 5000 + b"}"),
    ],
)
def test_a_file_that_is_no_index_is_refused(tmp_path, data):
    (tmp_path / "index.json").write_bytes(data)
    for read in (lambda: verify(tmp_path), lambda: ClipDataset(str(tmp_path))):
        with pytest.raises(DatasetError, match=r"index\.json is not a dataset index: .*"):
            read()


def test_damage_of_a_clip_is_never_more_than_a_dataset_error(tmp_path, make_clip):
    index = write_dataset(tmp_path, make_clip, clips=1)
    (entry,) = index.clips
    whole = (tmp_path / entry.shard).read_bytes()[entry.offset : entry.offset + entry.bytes]
    blocks = [start for start in range(0, len(whole), 512) if whole[start + 257 :][:5] == b"ustar"]
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 4])):
            place = draw.choice([*blocks, draw.randrange(len(whole) - 512)]) + draw.randrange(512)
            damaged[place] = draw.randrange(256)
        try:
            parse_clip(bytes(damaged[: draw.choice([None, None, place])]), entry).decode()
        except DatasetError:
            refused += 1
    assert refused > 200


def test_a_key_of_a_later_release_is_passed_over(tmp_path, make_clip):
    written = write_dataset(tmp_path, make_clip)
    content = json.loads((tmp_path / "index.json").read_text())
    content.pop("sha256")
    for each in (content, content["clips"][0], content["shards"][0]):
        each["later"] = 1
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (tmp_path / "index.json").write_text(json.dumps(content | {"sha256": digest}))
    assert read_index(tmp_path) == written
