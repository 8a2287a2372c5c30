"""`svp style`: from a clip to a style file, and what can be done with it, as a user types it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from scipy.io import savemat
from typer.testing import CliRunner

from svp_diffusers.checkpoints.loading import load_style_encoder, save_style_encoder
from svp_diffusers.cli.main import app
from svp_diffusers.errors import (
    CheckpointError,
    ConfigurationError,
    ExpressionError,
    MediaError,
    OutputError,
    StyleError,
)
from svp_diffusers.expression.track import Expressions
from svp_diffusers.media.audio import Recording
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.speech.features import load_audio_features
from svp_diffusers.style.encode import encode_style
from svp_diffusers.style.storage import load_style


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoder and clips: two .mat files, one of 3 frames, one with NaN, and a voice."""
    torch.manual_seed(0)
    sizes = {"audio_dim": 80, "audio_features": "log-mel-80", "encoder_id": "e1"}
    StyleEncoder.tiny(**sizes).save_pretrained(tmp_path / "encoder")
    StyleEncoder.tiny(**sizes, expression_centring="speaker").save_pretrained(tmp_path / "centred")
    StyleEncoder.tiny(**sizes, expression_dim=52, expression_space="arkit52").save_pretrained(
        tmp_path / "arkit"
    )
    torn = StyleEncoder.tiny(**sizes)
    torn.save_pretrained(tmp_path / "torn")
    weights = {k: v for k, v in torn.state_dict().items() if k != "to_mean.weight"}
    save_file(weights, tmp_path / "torn" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    random = np.random.default_rng(0)
    for name, frames in (("happy", 60), ("sad", 60), ("short", 3), ("nan", 60)):
        coeff = random.normal(size=(frames, 257)).astype(np.float32)
        if name == "nan":
            coeff[5, 100] = np.nan
        savemat(tmp_path / f"{name}.mat", {"coeff": coeff})
    voice = 0.3 * np.sin(np.arange(32000) / 16000 * 2 * np.pi * 200) * random.uniform(size=32000)
    soundfile.write(tmp_path / "voice.wav", voice.astype(np.float32), 16000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000, np.float32), 16000)
    return tmp_path


def svp(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def encode(folder: Path, clip: str, output: str, *options: object) -> Path:
    path = folder / f"{output}.style.safetensors"
    checkpoint = options if "--model" in options else ("--model", folder / "encoder")
    extra = () if "--model" in options else options
    svp("style", "encode", folder / clip, "-o", path, *checkpoint, *extra)
    return path


def test_coefficients_with_sound_without_and_sound_alone(folder: Path) -> None:
    styles = [
        load_style(encode(folder, "happy.mat", "seen")),
        load_style(encode(folder, "happy.mat", "both", "--audio", folder / "voice.wav")),
        load_style(encode(folder, "voice.wav", "heard")),
    ]
    assert [style.name for style in styles] == ["seen", "both", "heard"]
    assert [style.source for style in styles] == [
        "happy.mat",
        "happy.mat + voice.wav",
        "voice.wav",
    ]
    assert {style.encoder_id for style in styles} == {"e1"}
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert float(styles[first].wasserstein(styles[second])) > 1e-3


def test_a_video_that_is_seen_and_heard_is_one_source(folder: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 64)).astype(np.float32)
    seen = Expressions(values, "bfm64", Fraction(25), "a/talk.mp4")
    heard = Recording(random.normal(0, 0.1, (1, 32000)).astype(np.float32), 16000, "a/talk.mp4")
    features = load_audio_features("log-mel-80", None)
    style = encode_style(load_style_encoder(folder / "encoder"), seen, heard, features)
    assert style.source == "talk.mp4"


def test_speaker_centring_needs_and_uses_recordings_of_the_speaker(folder: Path) -> None:
    centred = ("--model", folder / "centred")
    clips = ("--speaker-clip", folder / "happy.mat", "--speaker-clip", folder / "sad.mat")
    style = load_style(encode(folder, "happy.mat", "centred", *centred, *clips))
    assert style.mean.isfinite().all()
    with pytest.raises(ConfigurationError, match="relative to the speaker's average"):
        encode(folder, "happy.mat", "x", *centred)
    with pytest.raises(ConfigurationError, match="give no speaker recordings"):
        encode(folder, "happy.mat", "x", *clips)


def test_sampling_blending_and_comparing(folder: Path) -> None:
    happy, sad = encode(folder, "happy.mat", "happy"), encode(folder, "sad.mat", "sad")
    svp("style", "sample", happy, "-n", 3, "--seed", 5, "-o", folder / "samples")
    again = folder / "again"
    svp("style", "sample", happy, "-n", 3, "--seed", 5, "-o", again)
    names = [f"sample-{i:02d}.style.safetensors" for i in range(3)]
    drawn = [load_style(folder / "samples" / name) for name in names]
    assert all(
        torch.equal(d.mean, load_style(again / n).mean) for d, n in zip(drawn, names, strict=True)
    )
    assert not torch.equal(drawn[0].mean, drawn[1].mean)
    assert float(drawn[0].std.max()) == 0

    middle, mixed = folder / "middle.style.safetensors", folder / "mixed.style.safetensors"
    svp("style", "interpolate", happy, sad, "--weight", 0.25, "-o", middle)
    svp("style", "mix", happy, sad, "-w", 3, "-w", 1, "-o", mixed)
    torch.testing.assert_close(load_style(middle).mean, load_style(mixed).mean)

    distance = float(load_style(happy).wasserstein(load_style(sad)))
    assert f"Wasserstein-2 distance\t{distance:.4f}" in svp("style", "compare", happy, sad)


def test_the_bank_of_a_checkpoint(folder: Path) -> None:
    happy, sad = encode(folder, "happy.mat", "happy"), encode(folder, "sad.mat", "sad")
    encoder = folder / "encoder"
    svp("style", "add", "happy", happy, "--model", encoder)
    svp("style", "add", "sad", sad, "--model", encoder)
    assert [
        line.split("\t")[0] for line in svp("style", "list", "--model", encoder).splitlines()
    ] == [
        "happy",
        "sad",
    ]
    same = svp("style", "compare", "happy", happy, "--model", encoder)
    assert "Wasserstein-2 distance\t0.0000" in same
    svp("style", "plot", "--model", encoder, "-o", folder / "bank.png")
    svp("style", "plot", happy, sad, "-o", folder / "files.png")
    assert (folder / "bank.png").stat().st_size > 1000
    svp("style", "remove", "happy", "--model", encoder)
    assert "happy" not in svp("style", "list", "--model", encoder)


def test_interrupted_while_it_saves_a_bank_the_checkpoint_still_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happy, encoder = encode(folder, "happy.mat", "happy"), folder / "encoder"
    (encoder / "README.md").write_text("Mine.")
    moves = {"replace": Path.replace, "rename": Path.rename}
    calls = []

    def interrupt_the_second(name: str) -> Callable[[Path, Path], Path]:
        def move(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return moves[name](path, target)

        return move

    changed = load_style_encoder(encoder)
    changed.add_style("happy", load_style(happy))
    with monkeypatch.context() as patch:
        for name in moves:
            patch.setattr(Path, name, interrupt_the_second(name))
        with pytest.raises(KeyboardInterrupt):
            save_style_encoder(changed, encoder)
    assert "happy" not in svp("style", "list", "--model", encoder)
    svp("style", "add", "happy", happy, "--model", encoder)
    assert "happy" in svp("style", "list", "--model", encoder)
    assert str(folder) not in (encoder / "config.json").read_text()
    assert (encoder / "README.md").read_text() == "Mine."
    assert not list(folder.glob(".*"))


def test_the_shipped_checkpoint_is_not_changed(folder: Path) -> None:
    with pytest.raises(OutputError, match="a part of this package"):
        svp("style", "remove", "happy", "--model", "svp-tiny")
    assert "happy" in svp("style", "list")  # of svp-tiny, the default


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nan.mat", "encoder"], ExpressionError, "first in frame 5"),
        (["short.mat", "encoder"], ExpressionError, "has 3 frames"),
        (["gone.mat", "encoder"], MediaError, "does not exist"),
        (["silence.wav", "encoder"], MediaError, "silent"),
        (["happy.mat", "arkit"], ExpressionError, "holds bfm64.*takes arkit52"),
        (["happy.mat", "nowhere"], CheckpointError, "there is no folder"),
        (["happy.mat", "torn"], CheckpointError, "1 weights are missing.*to_mean.weight"),
    ],
)
def test_what_cannot_be_encoded(
    folder: Path, arguments: list[str], error: type[ValueError], message: str
) -> None:
    clip, checkpoint = arguments
    with pytest.raises(error, match=message):
        encode(folder, clip, "x", "--model", folder / checkpoint)
    assert not (folder / "x.style.safetensors").exists()


def test_styles_that_do_not_fit(folder: Path) -> None:
    happy = encode(folder, "happy.mat", "happy")
    other = StyleEncoder.tiny(encoder_id="e2")
    other.save_pretrained(folder / "other")
    with pytest.raises(StyleError, match="made by encoder e1, this is encoder e2"):
        svp("style", "add", "happy", happy, "--model", folder / "other")
    with pytest.raises(StyleError, match="unknown style 'merry'; known here: prior"):
        svp("style", "compare", "merry", happy, "--model", folder / "encoder")
    with pytest.raises(StyleError, match="unknown style 'merry'"):  # of svp-tiny, the default
        svp("style", "compare", "merry", "prior")
    with pytest.raises(StyleError, match="at least two styles"):
        svp("style", "plot", happy, "-o", folder / "one.png")


def test_names_are_those_of_svp_tiny_where_no_checkpoint_is_named(tmp_path: Path) -> None:
    svp("style", "interpolate", "happy", "sad", "-o", tmp_path / "mixed.style.safetensors")
    style = load_style(tmp_path / "mixed.style.safetensors")
    encoder = load_style_encoder("svp-tiny")
    expected = encoder.get_style("happy").interpolate(encoder.get_style("sad"), 0.5)
    torch.testing.assert_close(style.mean, expected.mean.cpu())


@pytest.mark.slow
def test_the_style_of_a_real_clip_lies_among_those_of_the_bank(
    tmp_path: Path, real_data: Path
) -> None:
    path = tmp_path / "clip.style.safetensors"
    svp("style", "encode", real_data / "clips/vasa_3/clip.mp4", "-o", path)
    encoder = load_style_encoder("svp-tiny")
    bank = torch.stack([encoder.get_style(name).mean.float() for name in encoder.style_bank])
    centre = bank.mean(dim=0)
    furthest = (bank - centre).norm(dim=-1).max()
    assert (load_style(path).mean - centre).norm() < furthest


@pytest.mark.parametrize(
    "name", ["prior", "from_audio", "0:happy", "happy,sad", "a/b", "a\nb", 201 * "a"]
)
def test_a_name_that_means_something_else_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(StyleError, match="cannot add style"):
        svp(
            "style",
            "add",
            name,
            encode(folder, "happy.mat", "x"),
            "--model",
            folder / "encoder",
        )


def test_a_style_file_or_a_picture_under_another_name_is_refused(folder: Path) -> None:
    happy, sad = encode(folder, "happy.mat", "happy"), encode(folder, "sad.mat", "sad")
    before = sorted(folder.iterdir())
    for arguments in (["mix", happy, sad], ["interpolate", happy, sad], ["encode", happy]):
        with pytest.raises(OutputError, match="no name of a style file"):
            svp("style", *arguments, "-o", folder / "style.png")
    with pytest.raises(OutputError, match=r"must end in \.png"):
        svp("style", "plot", happy, sad, "-o", folder / "plot.xyz")
    assert sorted(folder.iterdir()) == before
