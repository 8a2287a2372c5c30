"""svp-tiny, the checkpoint that ships with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svp_diffusers import SVP_TINY, SVPTalkingHeadPipeline
from svp_diffusers.generation.demo import perform_sample
from svp_diffusers.hub.cards import CARDS, render_card
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.samples import PORTRAITS, SPEECH
from svp_diffusers.talkers.manner import EMOTIONS

SIZE = 128


@pytest.fixture(scope="module")
def svp_tiny() -> SVPTalkingHeadPipeline:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_it_is_small_and_holds_no_code(svp_tiny: SVPTalkingHeadPipeline) -> None:
    files = [path for path in SVP_TINY.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 40e6
    assert set(EMOTIONS) <= set(svp_tiny.style_encoder.style_bank)


def test_its_card_is_the_projects() -> None:
    assert (SVP_TINY / "README.md").read_text() == str(render_card(CARDS["svp-tiny"]))


def test_it_draws_the_person_of_the_portrait(svp_tiny: SVPTalkingHeadPipeline) -> None:
    """The head starts in the portrait's pose, so that pixels can be compared outside the mouth."""
    waveform = to_mono(read_audio(SPEECH[0]))[:6400]
    for person, path in enumerate(PORTRAITS):
        frames = perform_sample(svp_tiny, person, waveform, "neutral", seed=0)
        portrait = np.asarray(Image.open(path).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        error = (frames[0].astype(float) - portrait)[: SIZE // 2] / 255
        # Noise gives 8 dB, the mean colour at most 12.8, another of these people 13.4.
        assert -10 * np.log10(np.square(error).mean()) > 18


def is_warned_of(pipeline: SVPTalkingHeadPipeline, path: Path) -> bool:
    picture = Image.open(path).convert("RGB")
    with torch.no_grad():
        latents = pipeline.encode_image(picture, SIZE, SIZE)
    return pipeline.measure_portrait(picture, latents, SIZE, SIZE) < (
        pipeline.config.min_portrait_psnr
    )


def test_it_does_not_warn_of_people_drawn_like_its_own(svp_tiny: SVPTalkingHeadPipeline) -> None:
    assert not any(is_warned_of(svp_tiny, path) for path in PORTRAITS)


def test_it_warns_of_paintings_and_photographs(
    svp_tiny: SVPTalkingHeadPipeline, real_data: Path
) -> None:
    assert all(is_warned_of(svp_tiny, path) for path in (real_data / "portraits").iterdir())


def test_without_a_dtype_it_is_loaded_as_float32() -> None:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY)
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            assert {weight.dtype for weight in part.parameters()} == {torch.float32}, name
