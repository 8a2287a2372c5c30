"""Whatever a command is given that it cannot take: one line says so, soon, and nothing is left.

Each kind is run in this process, as a user would type it. It ends with exit status 1 (or 2, where
the command line itself is wrong) and one of our own errors, before a pipeline's weights are loaded,
within two seconds and half a gigabyte; no file appears or changes.
"""

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from svp_diffusers.checkpoints.loading import SVP_TINY
from svp_diffusers.cli.main import main
from svp_diffusers.evaluation.talking_head import evaluate  # noqa: F401 - imported beforehand
from svp_diffusers.generation import demo, generate, styles  # noqa: F401
from svp_diffusers.hub import pull, push  # noqa: F401
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS, SPEECH
from svp_diffusers.talkers import synthesis, talker  # noqa: F401
from svp_diffusers.training.audio.configuration import AudioTrainingConfiguration
from svp_diffusers.training.denoiser.configuration import (
    DistillationConfiguration,
    ImageTrainingConfiguration,
    StyleAdapterTrainingConfiguration,
    VideoTrainingConfiguration,
)
from svp_diffusers.training.expression.configuration import ExpressionTrainingConfiguration
from svp_diffusers.training.head_motion.configuration import HeadMotionTrainingConfiguration
from svp_diffusers.training.style.configuration import StyleTrainingConfiguration
from svp_diffusers.training.vae.configuration import VAETrainingConfiguration

from .bad_files import (
    DOCUMENTS,
    KEYPOINTS,
    PICTURES,
    SOUNDS,
    STYLES,
    TRACKS,
    MakeFile,
    fifo,
    folder_named,
    missing,
    written,
)

Command = list[object]
MakeCommand = Callable[[Path], Command]

BAD: dict[str, MakeCommand] = {}


def of_files(
    command: str, kinds: dict[str, MakeFile], arguments: Callable[[Path], Command]
) -> None:
    """Add one kind for each bad file; `arguments` builds a command around one."""
    for name, make in kinds.items():
        BAD[f"{command}: {name}"] = lambda folder, make=make: arguments(make(folder))


GENERATE: Command = ["generate", PORTRAITS[0], SPEECH[0], "-o", "video.mp4"]
KNOWN: Command = [*GENERATE, "--portrait-keypoints", PORTRAIT_KEYPOINTS[0]]
ENCODE: Command = ["style", "encode", SPEECH[0], "-o", "s.style.safetensors"]

# Files
of_files("portrait", PICTURES, lambda path: ["generate", path, SPEECH[0], "-o", "video.mp4"])
of_files("speech", SOUNDS, lambda path: ["generate", PORTRAITS[0], path, "-o", "video.mp4"])
of_files("speaker", SOUNDS, lambda path: [*GENERATE, "--paste-back", "--speaker", f"0:{path}"])
of_files("keypoints", KEYPOINTS, lambda path: [*GENERATE, "--portrait-keypoints", path])
of_files("style", STYLES, lambda path: [*KNOWN, "--style", path])
of_files("style of a track", TRACKS, lambda path: [*ENCODE[:2], path, *ENCODE[3:]])
of_files("style of a voice", SOUNDS, lambda path: [*ENCODE[:2], path, *ENCODE[3:]])
of_files("style to compare", STYLES, lambda path: ["style", "compare", path, "prior"])
of_files("style to mix", STYLES, lambda path: ["style", "mix", path, path, "-o", "m"])
of_files("style to sample", STYLES, lambda path: ["style", "sample", path, "-o", "samples"])
of_files("style to draw", STYLES, lambda path: ["style", "plot", path, path, "-o", "m.png"])

# Names
LONG = "x" * 300
for name, arguments in {
    "of a checkpoint to push": ["push", LONG, "org/name"],
    "of a dataset to verify": ["data", "verify", LONG],
    "of a dataset to write": ["data", "synth", "-o", LONG, "--clips", "1"],
    "of videos to prepare": ["data", "prepare", LONG, "-o", "dataset"],
    "of a speech encoder": [*ENCODE, "--audio-encoder", LONG],
    "of a training": ["train", "tiny", "-o", LONG],
}.items():
    BAD[f"too long a name {name}"] = lambda _, arguments=arguments: arguments
BAD["a video's name that is not UTF-8"] = lambda _: [*KNOWN[:3], "-o", "a\udcff.mp4"]
BAD["a style's name that is not UTF-8"] = lambda _: [*ENCODE[:3], "-o", "\udcff.style.safetensors"]

# Numbers
for option in (
    *("guidance-scale", "audio-guidance-scale", "style-guidance-scale", "style-temperature"),
    *("reference-attention-scale", "audio-attention-scale", "style-attention-scale"),
    "head-motion-scale",
):
    for value in ("-1", "nan", "inf", "1e308", "many"):
        BAD[f"--{option} {value}"] = lambda _, o=option, v=value: [*KNOWN, f"--{o}", v]
for option, values in {
    "steps": ("0", "-1", "1000000000", "2.5", "many"),
    "seed": ("-1", "99999999999999999999999", "1.5"),
    "num-styles": ("0", "-3", "1000000000"),
    "size": ("0", "-8", "100", "8", "1000000000"),
    "fps": ("0", "-25", "fast", "1e999999999", "nan", "inf", "25/0", "1000", "0.0001"),
    "context-length": ("0", "-1", "1000000"),
    "context-overlap": ("-1", "1000000"),
    "face-index": ("-1", "99"),
    "bbox": ("1,2,3", "a,b,c,d", "nan,0,9,9", "9,9,1,1", "0,0,1e9,1e9", "inf,0,9,9"),
    "dtype": ("float12", ""),
    "device": ("cuda:99", "abacus"),
    "head-motion": ("wild",),
    "speaker": ("anna.wav", ":", "x:y.wav"),
    "style": (
        *("ecstatic", "", "0:prior,then:prior", "1:prior", "0:prior,2:prior,1:prior"),
        *("0:prior,99:prior", "-1:prior", "0:", "0:prior,nan:prior", "0:prior,1e9:prior"),
        *("0:prior,1:prior," * 3000, "\x1b[2J", "../secret", "happy" * 10_000),
    ),
    "model": (
        "x" * 300,
        "x" * 300 + "/y",
        "./gone",
        "gone",
        "a/b/c",
        "/dev/null",
        "http://host/model",
        "\x1b[2J",
    ),
}.items():
    for value in values:
        shown = value if len(value) < 30 else f"{value[:20]}... ({len(value)})"
        start = GENERATE if option in ("face-index", "bbox", "speaker") else KNOWN
        BAD[f"--{option} {shown!r}"] = lambda _, s=start, o=option, v=value: [*s, f"--{o}", v]

for command, start in {
    "synth": ["data", "synth", "-o", "data"],
    "talker": ["data", "talker", "-o", "talker.mp4"],
    "prepare": ["data", "prepare", str(PORTRAITS[0]), "-o", "data"],
    "demo": ["demo", "-o", "demo.mp4"],
    "sample": ["style", "sample", "prior", "-o", "samples", "--model", str(SVP_TINY)],
    "interpolate": ["style", "interpolate", "prior", "prior", "-o", "s", "--model", SVP_TINY],
    "mix": [*("style", "mix", "prior", "prior", "-w", "1", "-o", "s"), "--model", SVP_TINY],
    "tiny": ["train", "tiny", "-o", "tiny"],
}.items():
    for option, values in {
        ("synth", "talker", "demo", "sample", "tiny"): {
            "--seed": ("-1", "99999999999999999999999")
        },
        ("synth", "talker", "prepare"): {
            "--size": ("0", "-8", "9", "1000000000"),
            "--fps": ("0", "nan", "1e999999999", "fast"),
        },
        ("synth", "talker"): {
            "--seconds": ("0", "-1", "nan", "inf", "1e12"),
            "--look": ("ugly",),
        },
        ("synth",): {"--clips": ("0", "-1", "99999999999999"), "--workers": ("0", "-1", "9999999")},
        ("talker",): {"--emotion": ("ecstatic",), "--text": ("", "a" * 1_000_000)},
        ("prepare",): {
            "--minimum-seconds": ("-1", "nan", "inf", "9"),
            "--maximum-seconds": ("0", "nan", "1e12"),
            "--workers": ("0", "-1"),
        },
        ("sample",): {
            "--number": ("0", "-1", "1000000000"),
            "--temperature": ("-1", "nan", "inf", "1e308"),
        },
        ("interpolate",): {"--weight": ("-1", "2", "nan")},
        ("mix",): {"--weight": ("nan", "inf", "-1")},
        ("tiny",): {"--minutes": ("-1", "nan", "inf", "1e300"), "--workers": ("0", "99999999")},
    }.items():
        if command not in option:
            continue
        for name, texts in values.items():
            for text in texts:
                shown = text if len(text) < 30 else f"{text[:10]}... ({len(text)})"
                BAD[f"{command} {name} {shown}"] = lambda _, s=start, n=name, t=text: [*s, n, t]

# Options that contradict each other
for name, options in {
    "two head motions": ["--head-video", SPEECH[0], "--head-keypoints", PORTRAIT_KEYPOINTS[0]],
    "a moved head twice": ["--head-keypoints", PORTRAIT_KEYPOINTS[0], "--head-motion", "still"],
    "a box and a number": ["--bbox", "0,0,50,50", "--face-index", "0"],
    "a box without looking": ["--bbox", "0,0,50,50", "--no-detect-face"],
    "several of one picture": ["--paste-back", "--num-styles", "2"],
    "a speaker without a picture": ["--speaker", f"0:{SPEECH[0]}"],
    "one speaker twice": ["--paste-back", "--speaker", "0:a.wav", "--speaker", "0:b.wav"],
}.items():
    BAD[name] = lambda _, options=options: [*GENERATE, *options]

# Outputs
for name, output in {
    "no suffix": "video",
    "another suffix": "video.avi",
    "a hidden nothing": ".mp4",
    "below a file": str(PORTRAITS[0] / "video.mp4"),
    "a device": "/dev/null",
    "a name too long": "x" * 300 + ".mp4",
    "folders too long": "x" * 300 + "/video.mp4",
    "the picture": str(PORTRAITS[0]),
}.items():
    BAD[f"output: {name}"] = lambda _, o=output: [*GENERATE[:3], "-o", o]
BAD["output: a folder"] = lambda folder: [*GENERATE[:3], "-o", folder_named("v.mp4")(folder)]
BAD["output of a talker: a picture"] = lambda _: ["data", "talker", "-o", "talker.png"]
BAD["output: a pipe"] = lambda folder: [*GENERATE[:3], "-o", fifo("v.mp4")(folder)]

# Training
STAGES: dict[str, type] = {
    "style": StyleTrainingConfiguration,
    "vae": VAETrainingConfiguration,
    "audio": AudioTrainingConfiguration,
    "image": ImageTrainingConfiguration,
    "video": VideoTrainingConfiguration,
    "distil": DistillationConfiguration,
    "style-adapter": StyleAdapterTrainingConfiguration,
    "expression": ExpressionTrainingConfiguration,
    "head-motion": HeadMotionTrainingConfiguration,
}
NUMBERS: dict[str, tuple[str, ...]] = {
    "seed": ("-1", "18446744073709551616", "1.5", ".nan", "many"),
    "steps": ("0", "-1", "1000000000000", ".inf", "[1]"),
    "learning_rate": ("0", "-1", ".nan", ".inf", "1e300", "fast", "null"),
    "num_workers": ("-1", "1000000"),
    "warmup_steps": ("-1", "9" * 400),
    "weight_decay": ("-1", ".nan"),
    "adam_beta2": ("1", ".nan"),
    "ema_decay": ("1", "-1"),
    "log_every": ("0",),
    "checkpoint_every": ("0",),
    "gradient_accumulation": ("0", "1000000000000"),
    "mixed_precision": ("fp8", "3", "true"),
    "tracker": ("paper",),
    "output_dir": ("3", "null", "{}"),
}
FEW_DOCUMENTS = ("missing", "a pipe", "no YAML", "an alias", "an unknown key", "a missing key")
"""Of all stages; the others are read by the same function."""


def configuration(stage: str, **changes: str) -> MakeFile:
    required = [
        field.name
        for field in fields(STAGES[stage])
        if field.default is MISSING and field.default_factory is MISSING
    ]
    lines = {**dict.fromkeys(required, "nowhere"), **changes}
    return written("run.yaml", "".join(f"{name}: {value}\n" for name, value in lines.items()))


for stage, kind in STAGES.items():
    some = DOCUMENTS if stage == "style" else {name: DOCUMENTS[name] for name in FEW_DOCUMENTS}
    of_files(f"train {stage}", some, lambda path, s=stage: ["train", s, "--config", path])
    numbers = dict(NUMBERS) if stage == "style" else {"seed": NUMBERS["seed"][:2]}
    for field in fields(kind):
        if field.name in NUMBERS or field.type not in (int, "int", float, "float"):
            continue
        numbers[field.name] = ("-1", "1000000000000", ".nan")
    for name, values in numbers.items():
        of_files(
            f"train {stage}: {name}",
            {value[:30]: configuration(stage, **{name: value}) for value in values},
            lambda path, s=stage: ["train", s, "--config", path],
        )
    if stage != "head-motion":  # whose talkers are made as it goes
        BAD[f"train {stage}: data that are nowhere"] = lambda folder, s=stage: [
            *("train", s, "--config"),
            configuration(s, output_dir="run")(folder),
        ]
    BAD[f"train {stage}: resumed from nothing"] = lambda folder, s=stage: [
        *("train", s, "--resume", "--config"),
        configuration(s, output_dir="run")(folder),
    ]

# Checkpoints
INDEX = json.loads((SVP_TINY / "model_index.json").read_text())


def checkpoint_with(file: str, content: str | bytes | None) -> MakeFile:
    """A checkpoint of small files, no weights, of which one is wrong."""

    def make(folder: Path) -> Path:
        copy = folder / "checkpoint"
        shutil.copytree(SVP_TINY, copy, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
        path = copy / file
        if content is None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return copy

    return make


def changed_index(**changes: Any) -> str:
    return json.dumps({**INDEX, **changes})


CHECKPOINTS: dict[str, MakeFile] = {
    "missing": missing("gone"),
    "an empty folder": folder_named("empty"),
    "a file": written("file", "hello"),
    "no index": checkpoint_with("model_index.json", None),
    "an index of text": checkpoint_with("model_index.json", "hello"),
    "an empty index": checkpoint_with("model_index.json", b""),
    "a binary index": checkpoint_with("model_index.json", bytes(range(256))),
    "an index in UTF-16": checkpoint_with("model_index.json", "{}".encode("utf-16")),
    "an index that is a list": checkpoint_with("model_index.json", "[]"),
    "an index of 10,000 levels": checkpoint_with("model_index.json", "[" * 10_000 + "]" * 10_000),
    "an index with NaN": checkpoint_with("model_index.json", '{"fps": NaN}'),
    "an index with 1e999": checkpoint_with("model_index.json", '{"fps": 1e999}'),
    "an index with a huge number": checkpoint_with("model_index.json", f'{{"fps": {"9" * 5000}}}'),
    "components that are numbers": checkpoint_with("model_index.json", changed_index(unet=3)),
    "components of one name": checkpoint_with("model_index.json", changed_index(unet=["a"])),
    "a class that commands the terminal": checkpoint_with(
        "model_index.json", changed_index(unet=["a", "\x1b[2J"])
    ),
    "no UNet": checkpoint_with("unet", None),
    "no style encoder": checkpoint_with("style_encoder", None),
    "no configuration of the style encoder": checkpoint_with("style_encoder/config.json", None),
    "a style encoder of text": checkpoint_with("style_encoder/config.json", "hello"),
    "a style encoder that is a list": checkpoint_with("style_encoder/config.json", "[]"),
    "a style encoder of no numbers": checkpoint_with(
        "style_encoder/config.json", '{"style_dim": "many", "style_names": []}'
    ),
    "a style encoder of a million layers": checkpoint_with(
        "style_encoder/config.json",
        '{"style_dim": 8, "style_names": [], "num_layers": 1000000}',
    ),
    "styles that command the terminal": checkpoint_with(
        "style_encoder/config.json", json.dumps({"style_dim": 8, "style_names": ["\x1b[2J"]})
    ),
}
of_files("checkpoint of generate", CHECKPOINTS, lambda path: [*KNOWN, "--model", path])
of_files("checkpoint of info", CHECKPOINTS, lambda path: ["info", path])
of_files("checkpoint of demo", CHECKPOINTS, lambda path: ["demo", "-o", "d.mp4", "--model", path])
of_files("checkpoint of style list", CHECKPOINTS, lambda path: ["style", "list", "--model", path])
of_files(
    "checkpoint of style add",
    CHECKPOINTS,
    lambda path: ["style", "add", "x", "prior", "--model", path],
)
of_files("checkpoint of push", CHECKPOINTS, lambda path: ["push", path, "org/name"])
of_files(
    "checkpoint of cache",
    {**CHECKPOINTS, "no weights": checkpoint_with("README.md", "")},
    lambda path: ["data", "cache", path.parent / "nothing", "-o", "c", "--model", path],
)
FRAMES_AND_UNET = {
    "a UNet without a size": checkpoint_with("unet/config.json", "{}"),
    "a UNet of text": checkpoint_with("unet/config.json", "hello"),
    "a huge UNet": checkpoint_with(
        "unet/config.json", '{"sample_size": 1e12, "motion_max_seq_length": 24}'
    ),
    "0 frames a second": checkpoint_with("model_index.json", changed_index(fps=0)),
    "words a second": checkpoint_with("model_index.json", changed_index(fps="fast")),
    "windows of no frames": checkpoint_with("model_index.json", changed_index(context_length=0)),
    "a guidance of words": checkpoint_with("model_index.json", changed_index(guidance_scale="x")),
    "shared noise of 2": checkpoint_with("model_index.json", changed_index(shared_noise=2.0)),
    "no steps": checkpoint_with("model_index.json", changed_index(num_inference_steps=0)),
}
of_files("checkpoint of generate", FRAMES_AND_UNET, lambda path: [*KNOWN, "--model", path])

# Datasets
INDEXES: dict[str, str | bytes] = {
    "empty": "",
    "text": "hello",
    "a list": "[]",
    "null": "null",
    "of another format": '{"format": "svp-clips-9"}',
    "without a checksum": '{"format": "svp-clips-1", "shards": [], "clips": []}',
    "binary": bytes(range(256)),
    "of 10,000 levels": "[" * 10_000 + "]" * 10_000,
    "with NaN": '{"format": NaN}',
    "in UTF-16": '{"format": "svp-clips-1"}'.encode("utf-16"),
}


def index_of(content: str | bytes) -> MakeFile:
    def make(folder: Path) -> Path:
        (folder / "dataset").mkdir()
        return written("index.json", content)(folder / "dataset").parent

    return make


DATASETS: dict[str, MakeFile] = {
    "missing": missing("gone"),
    "an empty folder": folder_named("empty"),
    "a file": written("file", "hello"),
    **{f"an index {name}": index_of(content) for name, content in INDEXES.items()},
}
of_files("dataset of verify", DATASETS, lambda path: ["data", "verify", path])
of_files("dataset of inspect", DATASETS, lambda path: ["data", "inspect", path])
of_files(
    "dataset of cache",
    DATASETS,
    lambda path: ["data", "cache", path, "-o", "cached", "--model", "svp-tiny"],
)
of_files(
    "dataset of train vae",
    DATASETS,
    lambda path: [
        *("train", "vae", "--config"),
        configuration("vae", output_dir="run", data=str(path))(path.parent),
    ],
)

# What is not there at all
BAD["prepare: no such video"] = lambda _: ["data", "prepare", "gone.mp4", "-o", "d"]
BAD["prepare: an empty list"] = lambda folder: [
    *("data", "prepare", f"@{written('list.txt', '')(folder)}", "-o", "d")
]
BAD["prepare: no such list"] = lambda _: ["data", "prepare", "@gone.txt", "-o", "d"]
BAD["prepare: a pattern of attributes"] = lambda _: [
    *("data", "prepare", PORTRAITS[0], "-o", "d", "--face-files", "{parent.__class__}")
]
BAD["pull: a path"] = lambda _: ["pull", "../org/name"]
BAD["push: a folder of anything"] = lambda folder: ["push", folder, "org/name"]
BAD["push: no such folder"] = lambda folder: ["push", folder / "gone", "org/name"]
BAD["style add: to svp-tiny"] = lambda _: [*("style", "add", "x", "prior", "--model", "svp-tiny")]
BAD["style remove: one that is not there"] = lambda _: [
    *("style", "remove", "ecstatic", "--model", SVP_TINY)
]
BAD["style compare: of a name that svp-tiny does not have"] = lambda _: [
    "style",
    "compare",
    "hapy",
    "sad",
]
BAD["an unknown command"] = lambda _: ["fly"]
BAD["an unknown option"] = lambda _: [*GENERATE, "--faster"]
BAD["no portrait"] = lambda _: ["generate", "-o", "video.mp4"]


def run(monkeypatch: pytest.MonkeyPatch, command: Command) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["svp", *map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def list_all(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        pytest.fail("a pipeline's weights were loaded")

    monkeypatch.setattr(SVPTalkingHeadPipeline, "from_pretrained", load)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", BAD)
def test_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command = BAD[name](tmp_path)
    before, start = list_all(tmp_path), time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run(monkeypatch, command) in (1, 2)
    taken = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    said = capsys.readouterr().err
    assert "error: " in said or "Error" in said  # ours, or that of an unknown option
    assert "Traceback" not in said
    assert len(said) < 4000
    assert "\x1b" not in said
    assert list_all(tmp_path) == before
    assert taken < 2
    assert memory < 500 * 1024


def test_there_are_more_than_three_hundred_kinds() -> None:
    assert len(BAD) > 300
