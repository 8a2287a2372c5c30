"""Styles that two processes add to one checkpoint at the same time."""

import subprocess
import sys
from pathlib import Path

import pytest

from svp_diffusers.checkpoints.loading import load_style_encoder
from svp_diffusers.models.style_encoder_svp import StyleEncoder


@pytest.mark.slow
def test_of_two_styles_added_at_once_none_is_lost(tmp_path: Path) -> None:
    StyleEncoder.tiny().save_pretrained(tmp_path / "encoder")
    names = ["one", "two", "three"]
    svp = [sys.executable, "-m", "svp_diffusers", "style", "add"]
    running = [
        subprocess.Popen([*svp, name, "prior", "--model", str(tmp_path / "encoder")])
        for name in names
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert set(load_style_encoder(tmp_path / "encoder").style_bank) >= set(names)
    assert list(tmp_path.iterdir()) == [tmp_path / "encoder"]
