"""A checkpoint's JSON files are checked before a weight is loaded: here there are none."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from svp_diffusers.checkpoints.description import describe_checkpoint
from svp_diffusers.checkpoints.json_files import COMPONENTS, read_config, read_model_index
from svp_diffusers.checkpoints.loading import (
    SVP_TINY,
    find_checkpoint,
    has_component,
    outline_style_encoder,
    read_call_defaults,
)
from svp_diffusers.cli.main import app
from svp_diffusers.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """svp-tiny without weights."""
    for path in SVP_TINY.rglob("*.json"):
        copy = tmp_path / path.relative_to(SVP_TINY)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


def change(path: Path, key: str, value: Any) -> None:
    """Put a value into a JSON file; `...` takes the key away."""
    content = json.loads(path.read_text())
    content[key] = value
    if value is ...:
        del content[key]
    path.write_text(json.dumps(content))


def test_what_is_shipped_passes(folder: Path) -> None:
    assert find_checkpoint(folder) == folder
    assert read_call_defaults(folder).fps == 25
    assert {name for name in COMPONENTS if read_model_index(folder)[name]} == set(COMPONENTS)
    assert len(outline_style_encoder(folder).style_bank) > 8
    assert has_component(folder, "head_motion")
    for absent in (None, [None, None], ...):
        change(folder / "model_index.json", "head_motion", ["head_motion_svp", "HeadMotionModel"])
        change(folder / "model_index.json", "head_motion", absent)
        assert not has_component(folder, "head_motion")


INDEX = {
    "unet": ["TemporalUNet", ["a"], ["a", "b", "c"], [1, 2], {"a": "b"}, 3],
    "num_inference_steps": [0, -1, 2.5, "2", 10**9, None, True],
    "guidance_scale": [-1, "1", None, [1]],
    "shared_noise": [-0.1, 1.1, "1", None],
    "noise_limit": [0, -1, "2", [1]],
    "guidance_limit": [0, -1, "2", [1]],
    "min_portrait_psnr": [-1, "22", None, [22]],
    "fps": [0, 0.001, 1e9, "25", None],
    "context_length": [0, 10**9, 2.5, "24", None],
    "context_overlap": [-1, 10**9, "4", None],
    "detail_scale": [-1, 9, 1.5, "2", None],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, each in INDEX.items() for v in each])
def test_a_wrong_value_of_the_index_is_named(folder: Path, key: str, value: Any) -> None:
    change(folder / "model_index.json", key, value)
    with pytest.raises(CheckpointError, match=rf"model_index\.json cannot be read \({key}"):
        find_checkpoint(folder)


@pytest.mark.parametrize("absent", [None, [None, None], []])
def test_a_component_that_the_index_lacks_is_named(folder: Path, absent: Any) -> None:
    change(folder / "model_index.json", "vae", ... if absent == [] else absent)
    with pytest.raises(CheckpointError, match="lacks vae"):
        find_checkpoint(folder)


CONFIGURATIONS = {
    ("unet", "sample_size"): [0, -8, 10**9, "16", 1.5, None, [16, 16], ...],
    ("unet", "motion_max_seq_length"): [0, 10**9, "32", None, ...],
    ("head_guider", "keypoint_layout"): ["", 8, None, ...],
    ("style_encoder", "style_dim"): [0, -1, 10**9, "32", None, ...],
    ("style_encoder", "num_layers"): [0, 1_000_000, "2", None],
    ("style_encoder", "style_names"): [None, "happy", [1], [""], ["\x1b[31mred"], ["a\nb"], ...],
}


@pytest.mark.parametrize(
    ("component", "key", "value"), [(*k, v) for k, each in CONFIGURATIONS.items() for v in each]
)
def test_a_wrong_value_of_a_component_is_named(
    folder: Path, component: str, key: str, value: Any
) -> None:
    change(folder / component / "config.json", key, value)
    with pytest.raises(CheckpointError, match=rf"{component}/config\.json cannot be read \({key}"):
        read_config(folder, component)


def test_numbers_that_fit_no_style_encoder_are_refused(folder: Path) -> None:
    change(folder / "style_encoder/config.json", "num_attention_heads", 5)
    with pytest.raises(CheckpointError, match="configured as no style encoder can be"):
        outline_style_encoder(folder)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"fps": NaN}'],
)
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json"])
def test_a_file_that_is_no_json_object_is_one_line(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    done = CliRunner().invoke(app, ["info", str(folder)])
    assert isinstance(done.exception, CheckpointError)
    assert f"{name} cannot be read (" in str(done.exception)


def test_names_in_brackets_are_shown_as_they_are(folder: Path) -> None:
    change(folder / "style_encoder/config.json", "style_names", ["[red]", "[/]"])
    done = CliRunner().invoke(app, ["info", str(folder)])
    assert done.exit_code == 0, done.output
    assert "styles: [red], [/]" in done.output


def test_optional_components_are_shown_where_they_are() -> None:
    index = read_model_index(SVP_TINY)
    there = [each.name for each in describe_checkpoint(SVP_TINY).components]
    assert sorted(there) == sorted(name for name in index if (SVP_TINY / name).is_dir())
    assert {"face_landmarker", "head_motion"} <= set(there)
