"""What the command line prints, and how it understands and refuses names."""

import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer

import svp_diffusers
from svp_diffusers.checkpoints.loading import SVP_TINY, find_checkpoint, load_style_encoder
from svp_diffusers.cli.main import app, main
from svp_diffusers.cli.printing import say
from svp_diffusers.errors import CheckpointError, StyleError
from svp_diffusers.samples import SPEECH
from svp_diffusers.speech.features import load_speech_encoder
from svp_diffusers.style.parse import parse_style
from svp_diffusers.style.storage import find_style

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["svp", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_no_name_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a{ESCAPES}b\tc\nd é [bold]\udce9")
    assert capsys.readouterr().out == (
        "a\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\u202eb\tc\nd é [bold]\\udce9\n"
    )


def test_an_error_shows_a_name_and_does_not_obey_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / f"{ESCAPES}.png"
    assert run(monkeypatch, "generate", name, "no.wav", "-o", tmp_path / "v.mp4") == 1
    said = capsys.readouterr().err.lstrip("\n")  # of the progress that did not begin
    assert said.startswith("error: ")
    assert "\\x1b[2J" in said
    assert said.rstrip("\n").isprintable()


def test_the_source_that_a_style_file_names_is_shown_and_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    style = find_style("happy", load_style_encoder(SVP_TINY))
    style.save(tmp_path / "a.style.safetensors")
    output = tmp_path / f"{ESCAPES}.style.safetensors"
    command = ["style", "mix", tmp_path / "a.style.safetensors", "prior", "-o", output]
    assert run(monkeypatch, *command, "--model", SVP_TINY) == 0
    assert capsys.readouterr().out.rstrip("\n").isprintable()


def test_a_warning_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("svp_diffusers.cli.main.app", lambda: warnings.warn(ESCAPES, stacklevel=1))
    assert run(monkeypatch) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: \\x1b[2J")
    assert said.rstrip("\n").isprintable()


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"svp-diffusers {svp_diffusers.__version__}\n"


@pytest.mark.parametrize(
    "name", ["./gone", "gone", "/tmp/gone/model", "~/gone", "a/b/c", "../org/x", "gone.safetensors"]
)
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("svp_diffusers.checkpoints.loading.snapshot_download", ask)
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", ask)
    for find in (find_checkpoint, load_style_encoder):
        with pytest.raises(CheckpointError, match="there is no folder"):
            find(name)


def test_a_wrong_style_name_brings_the_nearest_and_not_all() -> None:
    names = [f"{emotion}-{person}" for emotion in ("happy", "angry", "sad") for person in range(14)]
    with pytest.raises(
        StyleError, match=r"unknown style 'hapy-3' among 43; did you mean"
    ) as caught:
        parse_style("hapy-3", names)
    assert "happy-3" in str(caught.value)
    assert len(str(caught.value)) < 120
    with pytest.raises(StyleError, match=r"for instance happy-0"):
        parse_style("0:qqqqqqqq", names)


def test_the_python_door_says_it_alike() -> None:
    encoder = load_style_encoder(SVP_TINY)
    names = list(encoder.style_bank)
    wrong = names[0][:-1]
    with pytest.raises(ValueError, match=f"did you mean.*{names[0]}"):
        encoder.get_style(wrong)


@pytest.mark.parametrize(
    "command",
    [
        *("generate", "demo", "app", "lip-sync", "style encode", "style list", "style add"),
        *("style plot", "data cache", "evaluate style", "evaluate tiny", "evaluate head-motion"),
    ],
)
def test_model_is_the_checkpoint_in_every_command(command: str) -> None:
    chosen: Any = typer.main.get_command(app)
    for name in command.split():
        chosen = chosen.commands[name]
    (option,) = [each for each in chosen.params if "--model" in each.opts]
    assert (
        option.default is None or command == "lip-sync"
    )  # None is svp-tiny, which has no lip-sync
    assert not [each for each in chosen.params if "--checkpoint" in each.opts]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "tiny", "--expression-encoder", "gone"], "gone holds no expression encoder"),
        (["evaluate", "head-motion", "gone"], "gone holds no head motion model"),
        (["style", "encode", SPEECH[0], "--audio-encoder", "gone"], "gone is no speech encoder"),
    ],
    ids=lambda each: each if isinstance(each, str) else each[-1],
)
def test_a_network_that_is_not_there_is_told_at_once(
    arguments: list[object],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    options: list[object] = {
        "evaluate tiny": ["--data", "data", "-o", tmp_path / "report"],
        "style encode": ["-o", tmp_path / "a.style.safetensors"],
    }.get(" ".join(map(str, arguments[:2])), [])
    assert run(monkeypatch, *arguments, *options) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_speech_encoder_on_the_hub_is_not_asked_for_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def fail(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CheckpointError, match="org/nowhere is no speech encoder"):
        load_speech_encoder("org/nowhere")
    assert len(asked) <= 2  # where each of a model's files was asked for six times


def test_ctrl_c_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("svp_diffusers.checkpoints.description.describe_checkpoint", interrupt)
    assert run(monkeypatch, "info") == 130
    assert capsys.readouterr().err == "interrupted\n"
