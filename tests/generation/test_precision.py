"""What a video is computed in: chosen by the processor, or as it is asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from svp_diffusers.checkpoints.loading import SVP_TINY, load_pipeline
from svp_diffusers.checkpoints.precision import open_precision, select_precision
from svp_diffusers.generation.generate import generate_video
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.measures.pictures import measure_psnr
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.media.video import read_frames
from svp_diffusers.pipelines.speech_svp import encode_speech
from svp_diffusers.samples import PORTRAITS

from .conftest import write_speech

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"avx512_f": True, "amx_bf16": False, "avx512_bf16": False}, "float32"),
        ({"amx_bf16": True}, "mixed"),
        ({"amx_bf16": False, "avx512_bf16": True}, "mixed"),
        ({"neon": True, "sve_max_length": 32}, "float32"),
    ],
)
def test_a_processor_computes_in_bfloat16_where_it_can(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert select_precision(None, CPU) == chosen
    assert select_precision(None, torch.device("cuda")) == "float32"  # as it was asked for there
    assert select_precision("float16", CPU) == "float16"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert select_precision(None, CPU) == "float32"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float32.mp4, mixed.mp4 and streamed.mp4 of svp-tiny, each with its manifest."""
    folder = tmp_path_factory.mktemp("videos")
    speech = write_speech(folder / "speech.wav", 2.4)
    for name, changes in {
        "float32": {"dtype": "float32"},
        "mixed": {"dtype": "mixed"},
        "streamed": {"dtype": "mixed", "stream": True},
    }.items():
        generate_video(GenerationRequest(PORTRAITS[0], speech, folder / f"{name}.mp4", **changes))
    return folder


def test_a_video_in_mixed_precision_looks_the_same(videos: Path) -> None:
    frames = {
        name: np.stack(list(read_frames(videos / f"{name}.mp4"))) / 255
        for name in ("float32", "mixed", "streamed")
    }
    assert 38 < measure_psnr(frames["mixed"], frames["float32"], 1.0) < 80
    assert np.array_equal(frames["mixed"], frames["streamed"])
    for name in ("float32", "mixed"):
        manifest = json.loads(get_manifest_path(videos / f"{name}.mp4").read_text())
        assert manifest["arguments"]["dtype"] == name


def test_speech_and_faces_are_read_in_full_precision() -> None:
    pipeline = load_pipeline(SVP_TINY, CPU, "mixed")
    assert pipeline.unet.dtype == torch.float32
    waveform = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
    read = []
    for precision in ("float32", "mixed"):
        with torch.no_grad(), open_precision(precision, CPU):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
            assert product.dtype == (torch.bfloat16 if precision == "mixed" else torch.float32)
            embeddings = encode_speech(waveform, pipeline.audio_encoder, pipeline.feature_extractor)
            _, head = pipeline.find_head(Image.open(PORTRAITS[0]), 128, 128)
            assert head.keypoints is not None
            read.append((embeddings, torch.from_numpy(head.keypoints)))
    torch.testing.assert_close(*read, rtol=0, atol=0)
