"""`svp convert hallo`: from published files to a checkpoint that is right without options."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from half_precision import check_half_precision, perform
from parity import RUN_TOLERANCE, TOLERANCE, difference
from safetensors.torch import load_file

from svp_diffusers.checkpoints.description import describe_checkpoint
from svp_diffusers.checkpoints.loading import SVP_TINY, find_checkpoint
from svp_diffusers.cli.main import main
from svp_diffusers.errors import FaceError
from svp_diffusers.generation.face_embedding import read_face_embedding
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.regional_svp import find_regions, make_region_masks


def svp(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    patch.setattr(sys, "argv", ["svp", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def convert(
    patch: pytest.MonkeyPatch, output: Path, golden: Path, net: Path, *options: object
) -> int:
    parts = ["--net", net, "--wav2vec2", golden / "wav2vec2-base-960h", "--vae", golden / "vae"]
    sizes = ["--unet-config", golden / "unet_config.json", "--motion-heads", 4]
    return svp(patch, "convert", "hallo", *parts, *sizes, "-o", output, *options)


@pytest.fixture(scope="module")
def golden(real_data: Path) -> Path:
    return real_data / "parity" / "hallo"


@pytest.fixture(scope="module")
def converted(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("converted") / "hallo"
    with pytest.MonkeyPatch.context() as patch:
        assert convert(patch, output, golden, golden / "net.pth") == 0
    return output


@pytest.fixture(scope="module")
def pipeline(converted: Path) -> SVPTalkingHeadPipeline:
    loaded = SVPTalkingHeadPipeline.from_pretrained(converted)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def io(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "io.safetensors")


def run_golden(
    pipeline: SVPTalkingHeadPipeline,
    io: dict[str, torch.Tensor],
    patch: pytest.MonkeyPatch,
    **changes: Any,
) -> torch.Tensor:
    """The published run, through the pipeline's own call: 23 frames of speech, of two clips."""
    random = [
        torch.stack([io[f"mask_{name}_{level}"] for name in ("full", "face", "lip")], dim=1)
        for level in range(4)
    ]
    masks = tuple(
        mask.unflatten(2, (16 >> level, 16 >> level)) for level, mask in enumerate(random)
    )
    patch.setattr("svp_diffusers.pipelines.regional_svp.make_region_masks", lambda *_: masks)
    # The golden portrait is noise between the 256 levels that a picture has.
    portrait = io["run_reference_latents"][0, :1]
    patch.setattr(type(pipeline), "encode_image", lambda *_: portrait)
    made: list[torch.Tensor] = []

    def keep(pipe: Any, step: int, timestep: Any, tensors: dict[str, torch.Tensor]) -> Any:
        made.append(tensors["latents"])
        return {}

    options = {
        "face_embedding": io["face_embedding"][0],
        "head_keypoints": io["face_region"],
        "latents": io["run_noise"],
        "num_inference_steps": 3,
        **changes,
    }
    frames = pipeline(
        io["run_portrait"][0] / 2 + 0.5,
        io["waveform_int16"].float() / 32768,
        output_type="latent",
        callback_on_step_end=keep,
        **options,
    ).frames[0]
    assert frames.shape == (4, 23, 16, 16)  # 0.93 s at 25 frames a second, of two clips of 16
    assert len(made) == 6
    assert torch.equal(made[-1][0, :, :23], frames)
    return made[-1]


@pytest.mark.slow
def test_half_precision_makes_the_same_video(converted: Path, io: dict[str, torch.Tensor]) -> None:
    face = {"face_embedding": io["face_embedding"][0], "head_keypoints": io["face_region"]}
    check_half_precision(perform(converted, **face), steps_in_bfloat16=20)


def test_a_call_makes_what_the_published_pipeline_makes(
    pipeline: SVPTalkingHeadPipeline,
    io: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latents = run_golden(pipeline, io, monkeypatch)
    assert difference(latents, io["run_latents"]) < RUN_TOLERANCE


@pytest.mark.parametrize(
    "change", [{"face_embedding": None}, {"guidance_scale": 2.5}, {"style": torch.ones(128)}]
)
def test_what_a_change_of_the_call_does(
    pipeline: SVPTalkingHeadPipeline,
    io: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    found = difference(run_golden(pipeline, io, monkeypatch, **change), io["run_latents"])
    if "style" in change:  # which is untrained
        assert found < RUN_TOLERANCE
    else:
        assert found > 0.05


def test_a_portrait_and_speech_are_enough(
    pipeline: SVPTalkingHeadPipeline, io: dict[str, torch.Tensor]
) -> None:
    waveform = io["waveform_int16"].float()[:8000] / 32768
    portrait = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    videos = [
        pipeline(
            portrait,
            waveform,
            style,
            num_inference_steps=1,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
        )
        for style in (None, [(0.0, None), (0.3, None)])
    ]
    assert videos[0].frames[0].shape == (4, 12, 16, 16)
    assert videos[1].styles[0].shape == (12, 128)
    with pytest.raises(ValueError, match=r"must be finite and \(512,\)"):
        pipeline(portrait, waveform, face_embedding=torch.zeros(4))


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.zeros(4), "512 finite numbers"), (np.full(512, np.nan), "512 finite numbers")],
)
def test_a_wrong_face_embedding_is_refused(
    converted: Path, tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "face.npy", array)
    with pytest.raises(FaceError, match=message):
        read_face_embedding(tmp_path / "face.npy", converted)
    np.save(tmp_path / "face.npy", np.ones(512))
    found = read_face_embedding(tmp_path / "face.npy", converted)
    assert found is not None
    assert found.shape == (512,)
    with pytest.raises(FaceError, match="takes no face embedding"):
        read_face_embedding(tmp_path / "face.npy", SVP_TINY)
    (tmp_path / "face.npy").write_text("no array")
    with pytest.raises(FaceError, match="not an array"):
        read_face_embedding(tmp_path / "face.npy", converted)


def test_masks_of_a_face_and_its_lips(io: dict[str, torch.Tensor]) -> None:
    masks = make_region_masks(io["face_region"][0, 0], io["lip_region"][0, 0], 16, 16, 4)
    for level, mask in enumerate(masks):
        for region, name in enumerate(("full", "face", "lip")):
            expected = io[f"made_mask_{name}_{level}"][0]
            # OpenCV rounds its filter to 8 bits: up to three of 255 levels.
            assert difference(mask[0, region].flatten(), expected) <= 3.001 / 255


def test_lips_are_looked_for_in_the_face(io: dict[str, torch.Tensor]) -> None:
    face, lips = find_regions(io["face_region"][0])
    assert torch.equal(face, io["face_region"][0, 0])
    assert (face - lips).min() == 0
    rows, columns = face.nonzero().unbind(1)
    own_rows, own_columns = lips.nonzero().unbind(1)
    assert own_rows.float().mean() > rows.float().mean() + 10
    assert own_columns.float().mean() == columns.float().mean()
    usual, _ = find_regions(torch.zeros(3, 100, 100))
    assert usual.mean() == pytest.approx(0.36, abs=0.01)


def test_identity_tokens(pipeline: SVPTalkingHeadPipeline, io: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        tokens = pipeline.face_projector(io["face_embedding"])
    assert difference(tokens, io["identity_tokens"]) < TOLERANCE


def test_what_the_checkpoint_says_of_itself(converted: Path) -> None:
    description = describe_checkpoint(find_checkpoint(str(converted)))
    assert (description.layout, description.size) == ("face", 128)
    card = (converted / "README.md").read_text().replace("\n", " ")
    for said in ("OpenRAIL-M", "style changes nothing", "face_embedding", "MIT"):
        assert said in card


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code of the file was run",))


def drop(beginning: str) -> Callable[[Path], None]:
    def change(weights: dict[str, torch.Tensor]) -> None:
        for key in [key for key in weights if key.startswith(beginning)]:
            del weights[key]

    return lambda path: rewrite(path, change)


BAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100_000]),
    "empty": lambda path: path.write_bytes(b""),
    "code": lambda path: torch.save({"weight": Attack()}, path),
    "another family": lambda path: path.write_bytes((path.parent / "other.pth").read_bytes()),
    "no face projection": drop("imageproj."),
    "no motion": lambda path: rewrite(
        path,
        lambda weights: [weights.pop(key) for key in list(weights) if "motion_modules" in key],
    ),
    "key added": lambda path: rewrite(
        path, lambda weights: weights.update({"denoising_unet.extra": torch.zeros(1)})
    ),
    "unknown network": lambda path: rewrite(
        path, lambda weights: weights.update({"text_encoder.weight": torch.zeros(1)})
    ),
    "shape": lambda path: rewrite(
        path, lambda weights: weights.update({"face_locator.conv_out.bias": torch.zeros(9)})
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_file_is_refused_and_nothing_is_left(
    kind: str,
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "net.pth").write_bytes((golden / "net.pth").read_bytes())
    other = golden.parent / "echomimic" / "denoising_unet.pth"
    (folder / "other.pth").write_bytes(other.read_bytes())
    BAD[kind](folder / "net.pth")
    assert convert(monkeypatch, tmp_path / "out", golden, folder / "net.pth") == 1
    told = capsys.readouterr()
    assert "net.pth" in told.err.replace("\n", "")
    assert "code of the file was run" not in told.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]


@pytest.mark.parametrize("part", ["wav2vec2-base-960h", "vae"])
def test_a_missing_part_is_named(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    options = {"wav2vec2-base-960h": "--wav2vec2", "vae": "--vae"}
    given = [options[part], tmp_path / "absent"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert convert(monkeypatch, tmp_path / "out", golden, golden / "net.pth", *given) == 1
    assert not (tmp_path / "out").exists()
