"""A checkpoint's `handler.py`, as Inference Endpoints run it: with and without the package."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackHub

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.media.mark import read_mark
from svp_diffusers.media.video import probe

RUN = """
import base64, importlib.util, io, os
import numpy as np
import soundfile
from huggingface_hub import snapshot_download
from PIL import Image
if not {package}:
    sys.meta_path.insert(0, client.PackageBlocker())
folder = snapshot_download("org/endpoint")
sys.path.insert(0, folder)
spec = importlib.util.spec_from_file_location("handler", os.path.join(folder, "handler.py"))
handler = importlib.util.module_from_spec(spec)
sys.modules["handler"] = handler
spec.loader.exec_module(handler)
endpoint = handler.EndpointHandler(folder)
given, picture, sound = client.inputs(), io.BytesIO(), io.BytesIO()
given["image"].save(picture, "PNG")
soundfile.write(sound, given["audio"], 16000, format="WAV")
files = {{
    "image": base64.b64encode(picture.getvalue()).decode(),
    "audio": base64.b64encode(sound.getvalue()).decode(),
}}
parameters = {{"num_inference_steps": 1, "style": "happy", "seed": 3, "detail_scale": 2}}
good = {{"inputs": files, "parameters": parameters}}
wrapped = {{"inputs": {{**files, "image": base64.encodebytes(picture.getvalue()).decode()}}}}
wrapped["parameters"] = parameters
given["image"].save(eps := io.BytesIO(), "EPS")
postscript = base64.b64encode(eps.getvalue()).decode()
bad = [
    None, [], {{}}, {{"inputs": "x"}}, {{"inputs": {{**files, "image": None}}}},
    {{"inputs": {{**files, "image": "!"}}}}, {{"inputs": {{**files, "image": files["audio"]}}}},
    {{"inputs": {{**files, "audio": files["image"]}}}}, {{"inputs": {{**files, "audio": 5}}}},
    {{"inputs": {{**files, "image": postscript}}}},
    *({{"inputs": files, "parameters": each}} for each in (
        [1], {{"image": "/etc/passwd"}}, {{"style": {{}}}}, {{"style": "furious"}}, {{"seed": -1}},
        {{"seed": True}}, {{"num_inference_steps": "1"}}, {{"detail_scale": 99}},
        {{"style_temperature": float("nan")}},
    )),
]
made = endpoint(good)
result = {{"made": made, "bad": [endpoint(each) for each in bad]}}
result["same"] = endpoint(wrapped) == made
result["postscript"] = endpoint({{"inputs": {{**files, "image": postscript}}}})["error"]
endpoint.pipeline = lambda *_, **__: (_ for _ in ()).throw(FloatingPointError("NaN in float16"))
result["overflow"] = endpoint(good)
"""


@pytest.fixture(scope="module")
def answers(
    hub: LoopbackHub, run_python: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, Any]:
    """What the endpoint answers, with the package and without."""
    folder = tmp_path_factory.mktemp("endpoint")
    pipeline = build_random_pipeline()
    pipeline.style_encoder.add_style("happy", pipeline.style_encoder.prior())
    pipeline.save_pretrained(folder)
    hub.add_folder("org/endpoint", folder)
    return {package: run_python(RUN.format(package=package)) for package in (True, False)}


def test_a_request_is_answered_by_a_marked_video_with_sound(
    answers: dict[bool, Any], tmp_path: Path
) -> None:
    made = answers[False]["made"]
    video = tmp_path / "video.mp4"
    video.write_bytes(base64.b64decode(made["video"]))
    assert (made["frames"], made["fps"]) == (10, 25.0)
    information = probe(video)
    assert (information.width, information.height, information.has_audio) == (256, 256, True)
    assert read_mark(video) is not None
    assert answers[True]["made"] == made
    assert answers[True]["same"], "base64 in lines of 76 letters, as the command writes it"


def test_what_is_wrong_with_a_request_is_its_answer(answers: dict[bool, Any]) -> None:
    for answer in answers[False]["bad"]:
        assert list(answer) == ["error"]
        assert answer["error"]
    assert answers[True]["bad"] == answers[False]["bad"]
    assert answers[True]["overflow"] == {"error": "NaN in float16"}
    # Pillow would start Ghostscript.
    assert "image is not an image" in answers[True]["postscript"]
