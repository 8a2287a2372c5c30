import numpy as np
import pytest

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.inspection import draw_contact_sheet, summarize
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter


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
