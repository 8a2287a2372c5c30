import hashlib
import json
from fractions import Fraction
from pathlib import Path

import pytest

from svp_diffusers import __version__
from svp_diffusers.errors import ConfigurationError, OutputError
from svp_diffusers.media.manifest import (
    Provenance,
    get_manifest_path,
    hash_file,
    hash_folder,
    write_manifest,
)
from svp_diffusers.media.video import write_video

from .samples import make_frames


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    write_video(path, make_frames(5), Fraction(25))
    return path


def provenance(**changes) -> Provenance:
    names = ("request", "arguments", "inputs", "checkpoint", "machine")
    nothing: dict[str, dict] = {name: {} for name in names}
    return Provenance(**{"seed": 0, **nothing, **changes})


def test_the_manifest_holds_what_makes_the_same_frames_again(tmp_path, video):
    files = [tmp_path / name for name in ("portrait.png", "calm.mat", "glad.mat")]
    for file in files:
        file.write_bytes(file.name.encode())
    path = write_manifest(
        video,
        Provenance(
            seed=7,
            request={"image": files[0], "size": None},
            arguments={"fps": Fraction(24000, 1001), "head_video": None, "size": 128, "out": video},
            inputs={"image": files[0], "style": files[1:]},
            checkpoint={"source": "svp-tiny", "sha256": "0" * 64},
            machine={"device": "cpu", "threads": 2},
        ),
    )
    assert path == get_manifest_path(video) == tmp_path / "talk.mp4.json"
    manifest = json.loads(path.read_text())
    assert manifest["seed"] == 7
    assert manifest["request"] == {"image": "portrait.png", "size": None}
    assert manifest["arguments"] == {
        "fps": "24000/1001",
        "head_video": None,
        "size": 128,
        "out": "talk.mp4",
    }
    assert manifest["checkpoint"] == {"source": "svp-tiny", "sha256": "0" * 64}
    assert manifest["machine"] == {"device": "cpu", "threads": 2}
    assert manifest["versions"]["svp-diffusers"] == __version__
    assert manifest["versions"]["diffusers"]
    image, calm, glad = (
        {
            "name": file.name,
            "bytes": len(file.name),
            "sha256": hashlib.sha256(file.name.encode()).hexdigest(),
        }
        for file in files
    )
    assert manifest["inputs"] == {"image": image, "style": [calm, glad]}
    assert manifest["output"]["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
    assert manifest["digitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_an_argument_that_json_cannot_hold_is_an_error(video, value):
    with pytest.raises(ConfigurationError, match="manifest"):
        write_manifest(video, provenance(arguments={"style": value}))
    assert not get_manifest_path(video).exists()


def test_a_manifest_that_cannot_be_written_is_an_error(video):
    get_manifest_path(video).mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_manifest(video, provenance())


def test_hashes_change_with_content_and_names(tmp_path):
    folder = tmp_path / "checkpoint"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "model_index.json").write_text("{}")
    first = hash_folder(folder)
    assert hash_file(folder / "model_index.json") == hashlib.sha256(b"{}").hexdigest()
    (folder / ".cache").write_text("not part of it")
    assert hash_folder(folder) == first
    (folder / "unet" / "config.json").write_text("{} ")
    second = hash_folder(folder)
    (folder / "unet").rename(folder / "vae")
    assert len({first, second, hash_folder(folder)}) == 3
