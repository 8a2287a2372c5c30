"""Inference Endpoints: a checkpoint behind an address, requests and answers in JSON.

A checkpoint on the Hub carries this file as `handler.py` too, which is where Inference Endpoints
look for it; it needs PyAV, `av` in the endpoint's `requirements.txt`.
"""

import base64
import importlib.util
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

# IPTC NewsCodes, "Digital Source Type": media made by a trained model.
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PARAMETERS: dict[str, tuple[type, ...]] = {
    "seed": (int,),
    "style": (str,),
    "style_temperature": (int, float),
    "num_inference_steps": (int,),
    "guidance_scale": (int, float),
    "head_motion": (str,),
    "detail_scale": (int,),
}


class EndpointHandler:
    """Makes the videos of requests, one at a time.

    A request is `{"inputs": {"image": ..., "audio": ...}, "parameters": {...}}`, with the files of
    a picture (AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, WebP) and of a recording (WAV, FLAC, OGG, MP3)
    in base64, whose lines may be broken. The `PARAMETERS` are a `seed` and arguments of the
    pipeline's call; a style is a name of the bank, or "from_audio".

    The answer is `{"video": base64 of an MP4 with sound, "frames": ..., "fps": ...}`, or
    `{"error": what was wrong}`.

    Args:
        path: the folder of the checkpoint.
    """

    def __init__(self, path: str = "") -> None:
        self.pipeline = DiffusionPipeline.from_pretrained(path, trust_remote_code=True)
        self.pipeline.set_progress_bar_config(disable=True)
        if torch.cuda.is_available():
            self.pipeline.to("cuda")

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Answer a request; what is wrong with it is the answer, and no exception."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                inputs, parameters = read_request(data)
                picture, sound = Path(folder, "image"), Path(folder, "speech")
                picture.write_bytes(inputs["image"])
                sound.write_bytes(inputs["audio"])
                frames = self._make(picture, sound, parameters)
                fps = Fraction(self.pipeline.config.fps).limit_denominator(1001)
                video = encode_video(frames, fps, sound)
            except (ValueError, FloatingPointError) as error:
                return {"error": str(error).replace(f"{folder}{os.sep}", "")}
        return {
            "video": base64.b64encode(video).decode("ascii"),
            "frames": len(frames),
            "fps": float(fps),
        }

    def _make(self, picture: Path, sound: Path, parameters: dict[str, Any]) -> np.ndarray:
        seed = parameters.pop("seed", 0)
        generator = torch.Generator().manual_seed(seed)
        made = self.pipeline(
            str(picture), str(sound), generator=generator, output_type="np", **parameters
        )
        frames: np.ndarray = (255 * made.frames[0]).round().astype(np.uint8)
        return frames


def read_request(data: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files and the parameters of a request.

    Raises:
        ValueError: saying what it lacks or what is not known.
    """
    inputs = data.get("inputs") if isinstance(data, dict) else None
    if not isinstance(inputs, dict):
        raise ValueError('a request is {"inputs": {"image": ..., "audio": ...}, "parameters": ...}')
    files = {}
    for name in ("image", "audio"):
        given = inputs.get(name)
        if not given:
            raise ValueError(f"there is no `{name}`: give a file in base64")
        if not isinstance(given, str):
            raise ValueError(f"`{name}` must be a file in base64, got {type(given).__name__}")
        try:  # in lines, as the command base64 writes it, or in one
            files[name] = base64.b64decode("".join(given.split()), validate=True)
        except ValueError as error:
            raise ValueError(f"`{name}` must be a file in base64 ({error})") from error
    parameters = data.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError("`parameters` must be an object")
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise ValueError(f"the parameter {name!r} is not known; known: {', '.join(PARAMETERS)}")
        if type(value) not in PARAMETERS[name]:
            raise ValueError(f"`{name}` must be {PARAMETERS[name][0].__name__}, not {value!r}")
    if not 0 <= parameters.get("seed", 0) < 2**63:
        raise ValueError("`seed` must be from 0 to 2**63 - 1")
    return files, dict(parameters)


def encode_video(frames: np.ndarray, fps: Fraction, sound: Path) -> bytes:
    """An MP4 of H.264 with the sound of a file, marked as synthetic.

    Args:
        frames: (frames, height, width, 3) uint8.
        fps: of the video.
        sound: that FFmpeg reads; the video is written beside it.

    Raises:
        ValueError: if PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise ValueError("writing videos needs PyAV: put `av` into requirements.txt")
    av = importlib.import_module("av")
    written = sound.with_name("video.mp4")
    # use_metadata_tags: without it MP4 drops every tag it has no four-letter name for.
    options = {"movflags": "+faststart+use_metadata_tags"}
    with (
        av.open(str(written), "w", format="mp4", options=options) as container,
        av.open(str(sound)) as source,
    ):
        container.metadata.update({"digitalSourceType": SYNTHETIC, "comment": SYNTHETIC})
        video = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=48000, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        resampler = av.AudioResampler("fltp", "mono", 48000)
        for heard in source.decode(audio=0):
            for part in resampler.resample(heard):
                container.mux(track.encode(part))
        container.mux(track.encode(None))
    return written.read_bytes()
