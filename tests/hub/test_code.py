"""The code that checkpoints carry is the package's."""

import json
from pathlib import Path

import pytest
from diffusers.utils.dynamic_modules_utils import get_relative_imports

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.hub.code import code_files
from svp_diffusers.media.landmarks import load_face_landmarker
from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL
from svp_diffusers.models.face_projector_svp import FaceProjector
from svp_diffusers.models.head_motion_svp import HeadMotionModel

PIPELINES = Path(__file__).parents[2] / "pipelines"


def test_the_top_level_pipelines_are_the_code_of_the_package() -> None:
    exported = {
        path.relative_to(PIPELINES).as_posix(): path.read_bytes()
        for path in PIPELINES.rglob("*.py")
    }
    expected = {name: source.read_bytes() for name, source in code_files().items()}
    assert exported == expected, "refresh it: python -m svp_diffusers.hub.code pipelines"


def test_a_saved_pipeline_carries_that_code(tmp_path: Path) -> None:
    pipeline = build_random_pipeline()
    pipeline.vae = SpaceToDepthAutoencoderKL()
    pipeline.register_modules(
        face_landmarker=load_face_landmarker(),
        head_motion=HeadMotionModel(32, 16),
        face_projector=FaceProjector(),
    )
    pipeline.save_pretrained(tmp_path)
    saved = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py")}
    assert saved == set(code_files())
    for name, source in code_files().items():
        assert (tmp_path / name).read_bytes() == source.read_bytes()


def test_the_lip_sync_pipelines_file_imports_what_its_siblings_import() -> None:
    pipeline = code_files()["pipeline.py"].with_name("pipeline_lip_sync.py")
    siblings = set(get_relative_imports(pipeline))
    for name in siblings:
        assert set(get_relative_imports(pipeline.with_name(f"{name}.py"))) <= siblings


def test_the_pipelines_file_imports_every_sibling_itself() -> None:
    """diffusers copies the files that it names from a folder, but not those that they name."""
    pipeline = code_files()["pipeline.py"]
    siblings = set(get_relative_imports(pipeline))
    assert {f"{name}.py" for name in siblings} == {
        path.name for path in pipeline.parent.glob("*_svp.py")
    }
    for name in siblings:
        assert set(get_relative_imports(pipeline.with_name(f"{name}.py"))) <= siblings


def test_a_class_without_a_file_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = build_random_pipeline()
    monkeypatch.setattr(type(pipe.unet), "__module__", "__main__")
    pipe.unet = pipe.unet
    with pytest.raises(ValueError, match="Put it into a file of its own"):
        pipe.save_config(tmp_path)


def test_the_index_names_files_and_no_module(tmp_path: Path) -> None:
    build_random_pipeline().save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline_svp_talking_head", "SVPTalkingHeadPipeline"]
    assert index["unet"] == ["temporal_unet_svp", "TemporalUNet"]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]
