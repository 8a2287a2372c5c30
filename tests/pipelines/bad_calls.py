"""Calls of the Python API that cannot be right, by what is wrong with each."""

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from svp_diffusers import StyleDistribution, SVPTalkingHeadPipeline
from svp_diffusers.checkpoints.loading import (
    find_checkpoint,
    load_pipeline,
    load_style_encoder,
    locate,
    select_device,
)
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.expression.coefficients import read_expressions
from svp_diffusers.media.audio import open_recording, read_audio
from svp_diffusers.media.frame_rate import parse_fps
from svp_diffusers.media.image import read_image
from svp_diffusers.media.video import probe, read_frames, write_video
from svp_diffusers.pipelines.sound_svp import open_sound
from svp_diffusers.pipelines.style_schedule_svp import StyleSchedule

Pipeline = SVPTalkingHeadPipeline
Call = Callable[[Pipeline, Path], Any]

CALLS: dict[str, Call] = {}

SIZE = 64
PICTURE = np.full((SIZE, SIZE, 3), 128, np.uint8)
VOICE = (0.1 * np.sin(np.arange(8000))).astype(np.float32)
GOOD: dict[str, Any] = {
    "height": SIZE,
    "width": SIZE,
    "num_inference_steps": 1,
    "context_length": 8,
    "context_overlap": 2,
    "find_face": False,
}


def call(name: str, **changes: Any) -> None:
    """Add a kind: a call of the pipeline with these arguments in place of good ones."""

    def run(pipe: Pipeline, folder: Path) -> Any:
        arguments = {"image": PICTURE, "audio": VOICE, **GOOD, **changes}
        return pipe(**arguments)

    CALLS[f"call: {name}"] = run


def stream(name: str, **changes: Any) -> None:
    """Add a kind: a stream with these arguments in place of good ones."""

    def run(pipe: Pipeline, folder: Path) -> Any:
        return pipe.stream(**{"image": PICTURE, "audio": VOICE, **GOOD, **changes})

    CALLS[f"stream: {name}"] = run


def add(name: str, run: Call) -> None:
    CALLS[name] = run


def style(mean: Any = 0.0, std: Any = 1.0, dim: int = 16, **others: Any) -> StyleDistribution:
    return StyleDistribution(torch.full((dim,), mean), torch.full((dim,), std), **others)


def damaged(folder: Path, name: str = "file", content: bytes = b"what is this") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


NAN, INFINITE = math.nan, math.inf

# Portraits
PORTRAITS: dict[str, Any] = {
    "None": None,
    "a number": 3,
    "bytes": b"\x89PNG",
    "a missing file": "nowhere.png",
    "an empty path": "",
    "an empty list": [],
    "no pixels": np.zeros((0, 0, 3), np.uint8),
    "grey": np.zeros((64, 64), np.uint8),
    "channels first": np.zeros((3, 64, 64), np.uint8),
    "four channels": np.zeros((64, 64, 4), np.uint8),
    "floats of 0 to 255": PICTURE.astype(np.float32),
    "floats below 0": torch.full((3, 64, 64), -0.5),
    "NaN": np.full((64, 64, 3), NAN),
    "whole numbers of 64 bits": PICTURE.astype(np.int64),
    "complex numbers": PICTURE.astype(complex),
    "truth values": PICTURE.astype(bool),
    "text": np.full((64, 64, 3), "a"),
    "objects": np.full((64, 64, 3), None),
    "a batch of two": np.zeros((2, 64, 64, 3), np.uint8),
    "two portraits for one recording": [PICTURE, PICTURE],
}
for kind, value in PORTRAITS.items():
    call(f"image is {kind}", image=value)
    if not isinstance(value, list):
        stream(f"image is {kind}", image=value)

# Sound
SOUNDS: dict[str, Any] = {
    "None": None,
    "a number": 5,
    "a list of numbers": [0.1, 0.2],
    "a missing file": "nowhere.wav",
    "an empty list": [],
    "empty": np.zeros(0, np.float32),
    "too short": np.zeros(100, np.float32),
    "of three dimensions": np.zeros((1, 1, 8000), np.float32),
    "of a hundred channels": np.zeros((100, 8000), np.float32),
    "NaN": np.full(8000, NAN, np.float32),
    "infinite": np.full(8000, INFINITE, np.float32),
    "not scaled": np.full(8000, 3000.0, np.float32),
    "whole numbers of 64 bits": np.zeros(8000, np.int64),
    "complex": np.zeros(8000, complex),
    "text": np.full(8000, "a"),
    "objects": np.full(8000, None),
    "channels that cancel": np.stack([VOICE, -VOICE]),
    "a pair without a rate": (VOICE, 16000),
    "a pair at 0 Hz": (0, VOICE),
    "a pair of three": (16000, VOICE, 1),
    "a dictionary": {"array": VOICE},
}
for kind, value in SOUNDS.items():
    call(f"audio is {kind}", audio=value)
    if not isinstance(value, list):
        stream(f"audio is {kind}", audio=value)

# Numbers
WHOLE = ("height", "width", "num_inference_steps", "num_videos_per_style", "context_length")
WHOLE += ("context_overlap",)
SCALES = ("guidance_scale", "audio_guidance_scale", "style_guidance_scale", "head_motion_scale")
SCALES += tuple(f"{name}_attention_scale" for name in ("reference", "audio", "style"))
SCALES += ("style_temperature", "shared_noise", "fps")
ODD: dict[str, Any] = {
    "a word": "many",
    "negative": -1,
    "NaN": NAN,
    "infinite": INFINITE,
    "of forty digits": 10**40,
    "true": True,
    "a list": [1],
    "complex": 1j,
    "a tensor of two": torch.ones(2),
}
for argument in (*WHOLE, *SCALES, "sampling_rate"):
    for kind, value in {**ODD, **({} if argument in SCALES else {"a half": 8.5})}.items():
        call(f"{argument} is {kind}", **{argument: value})
        if argument != "num_videos_per_style" and kind in (
            "a word",
            "NaN",
        ):  # checked as for a call
            stream(f"{argument} is {kind}", **{argument: value})
for argument in ("style_temperature", "num_videos_per_style", "head_motion_scale", "sampling_rate"):
    call(f"{argument} is None", **{argument: None})
call("fps is 0", fps=0)
call("a size is 0", height=0)
call("a size is no multiple of 8", height=60)
call("windows overlap altogether", context_length=4, context_overlap=4)
call("windows are longer than the model's", context_length=4000)

# Styles
STYLES: dict[str, Any] = {
    "a number": 5,
    "unknown": "mournful",
    "an empty name": "",
    "bytes": b"happy",
    "a dictionary": {"happy": 1},
    "an array": np.zeros(16, np.float32),
    "a vector of another size": torch.zeros(5),
    "a vector of NaN": torch.full((16,), NAN),
    "a vector of whole numbers": torch.zeros(16, dtype=torch.int64),
    "rows for other frames": torch.zeros(3, 16),
    "of another size": style(dim=5),
    "of another encoder": style(encoder_id="another"),
    "a batch": StyleDistribution(torch.zeros(2, 16), torch.ones(2, 16)),
    "NaN": style(NAN),
    "of an infinite spread": style(0.0, INFINITE),
    "of a negative spread": style(0.0, -1.0),
    "an empty schedule": [],
    "a schedule without times": ["happy"],
    "a schedule of lists": [[0.0, style()]],
    "a schedule that begins late": [(1.0, style())],
    "a schedule that goes back": [(0.0, style()), (0.3, style()), (0.2, style())],
    "a schedule of words": [("soon", style())],
    "a schedule at NaN": [(0.0, style()), (NAN, style())],
    "a schedule beyond the end": [(0.0, style()), (9.0, style())],
    "a schedule of an unknown style": [(0.0, "mournful")],
    "a schedule of schedules": [(0.0, [(0.0, style())])],
    "a schedule of thousands": [(float(each), style()) for each in range(3000)],
}
for kind, value in STYLES.items():
    call(f"style is {kind}", style=value)
    stream(f"style is {kind}", style=value)

# Others
call("output_type is unknown", output_type="gif")
call("output_type is a number", output_type=1)
call("output_type is a list", output_type=["pil"])
stream("output_type is unknown", output_type="gif")
call("generator is a number", generator=3)
call("generator is a word", generator="seed")
call("generators are too few", generator=[torch.Generator()], num_videos_per_style=2)
call("generators are numbers", generator=[3])
stream("generator is a number", generator=3)
stream("generator is a list", generator=[torch.Generator()])
call("latents have another shape", latents=torch.zeros(1, 4, 2, 8, 8))
call("latents are a list", latents=[0.0])
call("latents are an array", latents=np.zeros((1, 4, 12, 8, 8)))
call("latents are NaN", latents=torch.full((1, 4, 12, 8, 8), NAN))
call("a callback is a word", callback_on_step_end="print")
call("a callback wants what is not there", callback_on_step_end_tensor_inputs=["noise"])
call("a callback wants a number", callback_on_step_end_tensor_inputs=3)
call("face_embedding where there is none", face_embedding=torch.zeros(512))
call("face_embedding is a word", face_embedding="anna")
for add_to in (call, stream):
    add_to("head_motion is unknown", head_motion="wild")
    add_to("head_motion is a number", head_motion=3)
    add_to("head_motion has NaN", head_motion=np.full((12, 6), NAN))
    add_to("head_keypoints are a number", head_keypoints=3)
    add_to("head_keypoints are empty", head_keypoints=[])
    add_to("head_keypoints are words", head_keypoints=["a.png"])
    add_to("head_keypoints have another size", head_keypoints=torch.zeros(1, 3, 32, 32))
    add_to("head_keypoints are of other frames", head_keypoints=torch.zeros(5, 3, SIZE, SIZE))
    add_to("head_keypoints are NaN", head_keypoints=torch.full((1, 3, SIZE, SIZE), NAN))
    add_to("portrait_keypoints are of another shape", portrait_keypoints=np.zeros((5, 2)))
    add_to("portrait_keypoints are NaN", portrait_keypoints=np.full((8, 2), NAN))
    add_to("portrait_keypoints are words", portrait_keypoints=np.full((8, 2), "a"))
    add_to("portrait_keypoints are a number", portrait_keypoints=3)
    add_to(
        "heads are told twice",
        portrait_keypoints=np.zeros((8, 2)),
        head_keypoints=torch.zeros(1, 3, SIZE, SIZE),
    )
stream("a style is taken from what is not yet said", style="from_audio")
stream("live speech with poses", audio=iter([VOICE]), head_motion=np.zeros((12, 6)))
stream("live speech with a style a frame", audio=iter([VOICE]), style=torch.zeros(12, 16))

# Checkpoints
PATHS: dict[str, Callable[[Path], Any]] = {
    "a missing folder": lambda folder: folder / "nowhere",
    "a path like a mistyped one": lambda folder: "./checkpoint/",
    "an empty folder": lambda folder: folder,
    "a file": damaged,
    "an empty name": lambda folder: "",
    "a number": lambda folder: 3,
    "a name of 5,000 letters": lambda folder: "a" * 5000,
    "a name with a zero byte": lambda folder: "a\0b",
}
for kind, make in PATHS.items():
    for reader, read in {
        "from_pretrained": SVPTalkingHeadPipeline.from_pretrained,
        "find_checkpoint": find_checkpoint,
        "locate": locate,
        "load_style_encoder": load_style_encoder,
        "StyleDistribution.from_pretrained": StyleDistribution.from_pretrained,
    }.items():
        if reader == "locate" and kind in ("an empty folder", "a file", "an empty name"):
            continue
        add(f"{reader}: {kind}", lambda pipe, folder, read=read, make=make: read(make(folder)))
    if kind not in ("a file", "an empty folder"):  # whose content diffusers and safetensors judge
        add(f"load_lora: {kind}", lambda pipe, to, make=make: pipe.load_lora_weights(make(to)))
    add(
        f"load_style_adapter: {kind}", lambda pipe, to, make=make: pipe.load_style_adapter(make(to))
    )


def index(content: Any) -> Call:
    def run(pipe: Pipeline, folder: Path) -> Any:
        damaged(folder, "model_index.json", json.dumps(content).encode())
        return SVPTalkingHeadPipeline.from_pretrained(folder)

    return run


add("from_pretrained: an index of a list", index([1]))
add("from_pretrained: an index without components", index({"_class_name": "A"}))
add("from_pretrained: an index of numbers", index({"unet": 3, "vae": 4}))
add("from_pretrained: a component of a path", index({"unet": ["../evil", "Unet"]}))
add("load_pipeline: an unknown dtype", lambda pipe, to: load_pipeline(to, "cpu", "float8"))
add(
    "load_pipeline: an empty folder",
    lambda pipe, to: load_pipeline(to, torch.device("cpu"), "float32"),
)
add("select_device: unknown", lambda pipe, to: select_device("tpu9"))
add("set_style_adapter_scale without an adapter", lambda pipe, to: pipe.set_style_adapter_scale(1))
add("load_lora_weights: no LoRA", lambda pipe, to: pipe.load_lora_weights({"a": torch.ones(1)}))

# Styles as values
A = style()
add("a style of lists", lambda *_: StyleDistribution([0.0], [1.0]))
add("a style of two shapes", lambda *_: StyleDistribution(torch.zeros(3), torch.ones(4)))
add("a style of one number", lambda *_: StyleDistribution(torch.tensor(0.0), torch.tensor(1.0)))
add("a style of whole numbers", lambda *_: StyleDistribution(torch.zeros(3).long(), torch.ones(3)))
for kind, value in {**ODD, "None": None, "a half": 0.5}.items():
    add(f"sample: n is {kind}", lambda *_, value=value: A.sample(value))
for kind, value in {**ODD, "None": None}.items():
    add(f"scale: intensity is {kind}", lambda *_, value=value: A.scale(value, A))
    add(f"sample: temperature is {kind}", lambda *_, value=value: A.sample(1, value))
    add(f"interpolate: weight is {kind}", lambda *_, value=value: A.interpolate(A, value))
    add(f"mix: a weight is {kind}", lambda *_, value=value: A.mix([A, A], [1, value]))
del CALLS["scale: intensity is negative"]  # which goes beyond neutral
add("sample: n is 0", lambda *_: A.sample(0))
add("sample: generators are too few", lambda *_: A.sample(3, generator=[torch.Generator()]))
add("sample: generator is a number", lambda *_: A.sample(3, generator=3))
OTHERS: dict[str, Any] = {
    "None": None,
    "a word": "happy",
    "a tensor": torch.zeros(16),
    "of another size": style(dim=5),
    "of another encoder": style(encoder_id="another"),
}
for kind, value in OTHERS.items():
    add(f"interpolate: {kind}", lambda *_, value=value: A.interpolate(value, 0.5))
    add(f"mix: {kind}", lambda *_, value=value: A.mix([A, value], [1, 1]))
    add(f"mix: first {kind}", lambda *_, value=value: A.mix([value, A], [1, 1]))
    add(f"scale: {kind}", lambda *_, value=value: A.scale(1.0, value))
    add(f"kl: {kind}", lambda *_, value=value: A.kl(value))
    add(f"wasserstein: {kind}", lambda *_, value=value: A.wasserstein(value))
add("mix: nothing", lambda *_: A.mix([], []))
add("mix: weights are too few", lambda *_: A.mix([A, A], [1]))
add("mix: weights are all 0", lambda *_: A.mix([A, A], [0, 0]))
add("mix: weights are a number", lambda *_: A.mix([A, A], 3))
add("log_prob: of another size", lambda *_: A.log_prob(torch.zeros(5)))
add("log_prob: of a word", lambda *_: A.log_prob("happy"))
add("length of one style", lambda *_: len(A))
add("part of one style", lambda *_: A[0])
add("save: into a missing folder", lambda pipe, to: A.save(to / "missing" / "a.safetensors"))
add("save: over a folder", lambda pipe, to: A.save(to))
add("load: a missing file", lambda pipe, to: StyleDistribution.load(to / "missing"))
add("load: a folder", lambda pipe, to: StyleDistribution.load(to))
add("load: a damaged file", lambda pipe, to: StyleDistribution.load(damaged(to)))
add("load: an empty file", lambda pipe, to: StyleDistribution.load(damaged(to, content=b"")))
for kind, value in {"unknown": "mournful", "None": None, "a number": 3}.items():
    add(f"get_style: {kind}", lambda pipe, to, value=value: pipe.style_encoder.get_style(value))
    add(f"style_bank: {kind}", lambda pipe, to, value=value: pipe.style_encoder.style_bank[value])
    add(f"remove_style: {kind}", lambda pipe, to, v=value: pipe.style_encoder.remove_style(v))
for kind, value in {**OTHERS, "a batch": STYLES["a batch"], "NaN": style(NAN)}.items():
    add(f"add_style: {kind}", lambda pipe, to, v=value: pipe.style_encoder.add_style("a", v))
for kind, name in {"empty": "", "a number": 3, "None": None}.items():
    add(f"add_style: named {kind}", lambda pipe, to, n=name: pipe.style_encoder.add_style(n, A))
ENCODED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a list": {"expression": [[0.0]]},
    "an expression of another size": {"expression": torch.zeros(1, 30, 5)},
    "an expression of two dimensions": {"expression": torch.zeros(30, 64)},
    "too short an expression": {"expression": torch.zeros(1, 2, 64)},
    "sound of another size": {"audio": torch.zeros(1, 30, 5)},
    "a mask of another shape": {
        "expression": torch.zeros(1, 30, 64),
        "expression_mask": torch.ones(1, 5, dtype=torch.bool),
    },
    "a mask of numbers": {
        "expression": torch.zeros(1, 30, 64),
        "expression_mask": torch.ones(1, 30),
    },
    "two batches": {"expression": torch.zeros(1, 30, 64), "audio": torch.zeros(2, 60, 32)},
}
for kind, given in ENCODED.items():
    add(f"style_encoder: {kind}", lambda pipe, to, given=given: pipe.style_encoder(**given))
add("a schedule without a fade", lambda *_: StyleSchedule([(0.0, "a")], fade=0.0))
add("a schedule with a fade of NaN", lambda *_: StyleSchedule([(0.0, "a")], fade=NAN))
add("a schedule with a fade of a word", lambda *_: StyleSchedule([(0.0, "a")], fade="long"))
add("a schedule of a number", lambda *_: StyleSchedule(3))

# Files
READERS: dict[str, Callable[[Any], Any]] = {
    "read_audio": read_audio,
    "open_recording": open_recording,
    "open_sound": lambda path: open_sound(path, 16000),
    "read_image": read_image,
    "read_frames": lambda path: list(read_frames(path)),
    "probe": probe,
    "read_expressions": read_expressions,
    "ClipDataset": lambda path: ClipDataset(str(path)),
}
for reader, read in READERS.items():
    for kind, make in PATHS.items():
        if kind != "a number":
            add(f"{reader}: {kind}", lambda pipe, to, read=read, make=make: read(make(to)))
for kind, value in {"a word": "fast", "0": 0, "NaN": NAN, "None": None, "a list": [25]}.items():
    add(f"parse_fps: {kind}", lambda *_, value=value: parse_fps(value))
FRAMES = [PICTURE] * 3
add("write_video: no frames", lambda pipe, to: write_video(to / "a.mp4", [], Fraction(25)))
add("write_video: over a folder", lambda pipe, to: write_video(to, FRAMES, Fraction(25)))
add(
    "write_video: pictures of two sizes",
    lambda pipe, to: write_video(to / "a.mp4", [PICTURE, PICTURE[:32]], Fraction(25)),
)
add(
    "write_video: pictures of floats",
    lambda pipe, to: write_video(to / "a.mp4", [PICTURE / 255], Fraction(25)),
)
