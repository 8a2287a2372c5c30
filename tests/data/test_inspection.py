"""`svp data verify` and `svp data inspect`: whether a dataset is whole, and what it holds."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from svp_diffusers.cli.data import app
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.inspection import draw_contact_sheet, summarize
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import OutputError


@pytest.fixture
def dataset(tmp_path, make_clip):
    with ShardWriter(tmp_path) as writer:
        for seed, frames in enumerate([25, 50, 75]):
            writer.write(encode_clip(make_clip(key=f"c{seed}", seed=seed, frames=frames)))
    return ClipDataset(str(tmp_path))


def test_a_summary_counts_clips_time_and_values(dataset):
    summary = summarize(dataset)
    assert (summary.clips, summary.frames) == (3, 150)
    assert summary.hours == pytest.approx(6 / 3600)
    assert (summary.shortest, summary.longest) == (1, 3)
    assert summary.histograms["speaker"] == {"s0": 2, "s1": 1}
    assert summary.kinds == {"25 fps 32x32 jpeg arkit52 head8": 3}
    text = summary.describe()
    assert "3 clips, 150 frames" in text
    assert "s0      2 " + "#" * 40 in text
    assert "s1      1 " + "#" * 20 + "\n" in text


def test_a_contact_sheet_shows_the_frames(dataset):
    sheet = np.asarray(draw_contact_sheet(dataset, columns=2, rows=2, thumbnail=32))
    assert sheet.shape == (2 * (32 + 26), 64, 3)
    middle = dataset[0].decode(12, 13).frames[0]
    assert np.abs(sheet[:32, :32].astype(int) - middle).max() == 0
    assert (sheet[58:90, 32:] == 255).all()  # three clips, the fourth place stays white


def test_the_command_counts_and_draws(dataset, tmp_path):
    sheet = tmp_path / "sheet.png"
    shown = CliRunner().invoke(app, ["inspect", dataset.root, "--sheet", str(sheet)])
    assert shown.stdout.startswith("3 clips, ")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    other = CliRunner().invoke(app, ["inspect", dataset.root, "--sheet", str(tmp_path / "a.jpg")])
    assert isinstance(other.exception, OutputError)
    assert not (tmp_path / "a.jpg").exists()


def test_the_command_fails_on_a_flipped_byte(dataset):
    verify = ["verify", dataset.root]
    checked = CliRunner().invoke(app, verify)
    assert checked.exit_code == 0
    assert checked.stdout == "1 shards with 3 clips are as they were written\n"
    shard = Path(dataset.root) / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    checked = CliRunner().invoke(app, verify)
    assert checked.exit_code == 1
    assert "train-000000.tar: content differs" in checked.stdout
