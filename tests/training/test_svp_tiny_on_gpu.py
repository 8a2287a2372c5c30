"""`examples/svp_tiny/pack.py` and `on_gpu.py`, on a CPU and for seconds."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from svp_diffusers.checkpoints.loading import SVP_TINY
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

EXAMPLES = Path(__file__).parents[2] / "examples/svp_tiny"
SMALLER = {
    "many_people.yaml": {"clips_per_batch": 4},
    "many_people_expression.yaml": {"batch_size": 8, "base_channels": 8, "hidden_dim": 16},
    "decoder.yaml": {"batch_size": 4, "validation_frames": 8},
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(EXAMPLES)
    return {name: importlib.import_module(name) for name in ("pack", "on_gpu")}


@pytest.fixture
def packed(
    scripts: dict[str, ModuleType],
    cached: Path,
    drawn_talkers: str,
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    folder = tmp_path / "packed"
    read = ["--clips", cached, "--pictures", cached, "--frames", drawn_talkers]
    options = ["--frames-per-clip", 5, "--frames-of-each", 2, "--checkpoint", start]
    call(scripts["pack"], monkeypatch, folder, *read, *options)
    return folder


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    script.main()


def configure(folder: Path) -> Path:
    """The configurations of the examples, with smaller batches."""
    folder.mkdir()
    for name, options in SMALLER.items():
        given = yaml.safe_load((EXAMPLES / name).read_text())
        (folder / name).write_text(yaml.safe_dump(given | options))
    return folder


def test_what_is_packed_is_close_to_what_was_cached(
    scripts: dict[str, ModuleType], packed: Path, cached: Path, drawn_talkers: str
) -> None:
    read = scripts["pack"].read_packed(packed, "train", torch.device("cpu"))
    clips = ClipDataset(str(cached), "train")
    assert read["latents"].shape[:2] == (24, 5)
    assert read["style"].shape[:2] == (24, 2)
    for index in (0, 23):
        clip = clips[index].decode()
        truth = torch.from_numpy(clip.latents).float()[::4]
        assert (read["latents"][index].float() - truth).abs().max() < truth.abs().max() / 200
        keypoints = torch.from_numpy(clip.head_keypoints)[::4]
        assert torch.equal(read["head_keypoints"][index], keypoints)
        expression = torch.from_numpy(clip.expression)[::4]
        torch.testing.assert_close(read["expression"][index], expression, atol=1e-3, rtol=0)
    pictures = scripts["pack"].read_packed(packed, "pictures-validation", torch.device("cpu"))
    assert pictures["latents"].shape[:2] == (4, 20)
    held = scripts["on_gpu"].read_pictures(packed, "train", torch.device("cpu"))
    for row in (0, 19, 20, 479):
        clip = clips[row // 20].decode()
        read = {name: held[name][row].float() for name in ("sample", "reference")}
        pairs = {"sample": clip.latents[row % 20], "reference": clip.reference_latents}
        for name, truth in pairs.items():
            wrong = np.abs(read[name].numpy() - truth.astype(np.float32)).max()
            assert wrong < np.abs(clip.latents).max() / 200, (row, name)
    frames = scripts["pack"].read_frames(packed, "frames-train")
    assert frames.pixels.shape == (48, 32, 32, 3)
    drawn = ClipDataset(drawn_talkers, "train")[3].decode()
    for row, frame in ((6, 3), (7, 8)):  # of clip 3, from its frame 3 on, half a clip apart
        assert np.array_equal(frames.pixels[row], drawn.frames[frame])
        assert np.array_equal(frames.head_keypoints[row], drawn.head_keypoints[frame])


def test_each_clip_and_channel_is_packed_by_its_own_range(scripts: dict[str, ModuleType]) -> None:
    random = torch.Generator().manual_seed(0)
    ranges = torch.tensor([0.1, 10.0])
    values = {
        "latents": torch.randn(2, 3, 2, 4, 4, generator=random) * ranges[:, None, None],
        "reference_latents": torch.randn(2, 2, 4, 4, generator=random) * ranges[:, None, None],
        "audio_windows": torch.randn(2, 3, 5, 2, generator=random) * ranges,
    }
    values = {
        name: value * ranges.view(2, *[1] * (value.ndim - 1)) for name, value in values.items()
    }
    pack = scripts["pack"]
    packed = pack.shrink(values)
    assert {packed[name].dtype for name in values} == {torch.int8}
    for name, read in pack.unpack(packed, torch.device("cpu")).items():
        wrong = (read.float() - values[name]).abs()
        axes = [axis for axis in range(1, wrong.ndim) if wrong.shape[axis] != 2]
        assert (wrong.amax(axes) < values[name].abs().amax(axes) / 200).all(), name


def test_a_mirrored_face_has_its_keypoints_in_place(scripts: dict[str, ModuleType]) -> None:
    pixels = torch.zeros(64, 3, 32, 32)
    keypoints = torch.tensor([[4, 20], [8, 28], [12, 30], [20, 28], [16, 16], [16, 20], [9, 11]])
    keypoints = torch.cat([keypoints, torch.tensor([[21, 13]])]).float().repeat(64, 1, 1)
    pixels[..., 11, 9], pixels[..., 13, 21] = -0.9, 0.9
    changed, moved = scripts["on_gpu"].vary(pixels, keypoints, torch.Generator().manual_seed(0))
    mirrored = moved[:, 6, 0] != 9
    assert 8 < mirrored.sum() < 32
    for picture, points in zip(changed[mirrored], moved[mirrored].long(), strict=True):
        left, right = points[6], points[7]
        assert left[0] < right[0]
        # The bright eye was at the right.
        assert picture[0, left[1], left[0]] > 0.5
        assert picture[0, right[1], right[0]] < -0.5
        assert picture[0, 0, 0] > picture[0, right[1], right[0]]
    assert torch.equal(moved[~mirrored], keypoints[~mirrored])
    background = changed[:, :, 0, 0]
    assert 16 < (background != 0).any(1).sum() < 48
    assert changed.abs().max() <= 1


def test_the_denoiser_is_trained_and_put_into_a_checkpoint(
    scripts: dict[str, ModuleType],
    packed: Path,
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, result = tmp_path / "out", tmp_path / "result"
    options = ["--minutes", 0.01, "--work", tmp_path / "work", "--checkpoint", start]
    options += ["--configurations", configure(tmp_path / "configurations")]
    call(scripts["on_gpu"], monkeypatch, "train", packed, "-o", out, *options)
    call(scripts["on_gpu"], monkeypatch, "apply", out, start, result)
    trained = load_file(out / "denoiser-0.safetensors")
    before = SVPTalkingHeadPipeline.from_pretrained(start)
    after = SVPTalkingHeadPipeline.from_pretrained(result)
    for network in scripts["on_gpu"].TRAINED_NETWORKS:
        weights = getattr(after, network).state_dict()
        assert all(
            torch.equal(value, trained[f"{network}.{name}"].float())
            for name, value in weights.items()
        )
        old = getattr(before, network).state_dict()
        assert any((weights[name] - old[name]).abs().max() > 1e-3 for name in weights), network
    assert (tmp_path / "work/image/metrics.jsonl").read_text().count("validation_mse") >= 4


def test_the_decoder_is_trained_and_the_encoder_stays(
    scripts: dict[str, ModuleType], packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, result = tmp_path / "out", tmp_path / "result"
    options = ["--minutes", 0.01, "--work", tmp_path / "work"]
    options += ["--configurations", configure(tmp_path / "configurations")]
    call(scripts["on_gpu"], monkeypatch, "decode", packed, "-o", out, *options)
    call(scripts["on_gpu"], monkeypatch, "apply", out, SVP_TINY, result)
    before, after = (
        SVPTalkingHeadPipeline.from_pretrained(folder).vae for folder in (SVP_TINY, result)
    )
    for part, changes in (("encoder", False), ("quant_conv", False), ("decoder", True)):
        old, new = (getattr(vae, part).state_dict() for vae in (before, after))
        assert all(torch.equal(old[name], new[name]) for name in old) is not changes, part


def test_what_is_not_there_ends_a_script_in_one_line(
    scripts: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for wrong, said in (([tmp_path / "new"], "what to pack"), ([empty, "--clips", "x"], "already")):
        with pytest.raises(SystemExit):
            call(scripts["pack"], monkeypatch, *wrong)
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    for command in ("train", "decode"):
        with pytest.raises(SystemExit, match="holds no"):
            call(scripts["on_gpu"], monkeypatch, command, empty, "-o", tmp_path / "out")
    result = tmp_path / "result"
    with pytest.raises(SystemExit, match="holds nothing"):
        call(scripts["on_gpu"], monkeypatch, "apply", empty, SVP_TINY, result)
    assert not result.exists()
