"""Cards say what they must, are valid on the Hub, and their code runs as it stands."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from loopback import LoopbackHub
from PIL import Image

from svp_diffusers.errors import CheckpointError
from svp_diffusers.hub.cards import CARDS, CardDescription, Result, render_card

MODEL_CARDS = Path(__file__).parents[2] / "model_cards"


@pytest.mark.parametrize("name", CARDS)
def test_the_cards_of_the_project_are_rendered_from_the_template(name: str) -> None:
    card = (MODEL_CARDS / f"{name}.md").read_text()
    assert card == str(render_card(CARDS[name])), (
        "refresh it: python -m svp_diffusers.hub.cards model_cards"
    )


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_binds_its_user(name: str) -> None:
    card = render_card(CARDS[name])
    assert card.data.library_name == "diffusers"
    assert card.data.pipeline_tag == "image-to-video"
    assert card.data.license
    assert card.text.lstrip().splitlines()[2].startswith("**Limits: ")
    for word in ("**face**", "**voice**", "Impersonate nobody", "synthetic", "takedown", "Bias"):
        assert word in card.text


SNIPPETS = """
import re, tempfile
from pathlib import Path
from huggingface_hub import ModelCard
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from huggingface_hub import HfApi
from svp_diffusers.hub.push import push_folder

cards = {path.stem: ModelCard.load(path) for path in Path(%(cards)r).glob("*.md")}
for card in cards.values():
    card.validate()

pipe = client.build()
for name in ("svp-tiny", "svp", "svp-fine-tune"):
    pipe.push_to_hub(f"svp-diffusers/{name}")
with tempfile.TemporaryDirectory() as folder:
    pipe.save_style_adapter(folder, base_model="svp-diffusers/svp")
    push_folder(Path(folder), "svp-diffusers/svp-style-adapter")
pipe.style_encoder.get_style("happy").push_to_hub("svp-diffusers/svp-style-happy")
pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
with tempfile.TemporaryDirectory() as folder:
    pipe.save_lora_weights(folder, get_peft_model_state_dict(pipe.unet))
    HfApi().create_repo("svp-diffusers/svp-speaker-lora")
    HfApi().upload_folder(repo_id="svp-diffusers/svp-speaker-lora", folder_path=folder)

result = {}
for name, card in cards.items():
    (code,) = re.findall("```python\\n(.*?)```", card.text, flags=re.DOTALL)
    exec(code, {})
    result[name] = Path("video.gif").stat().st_size
    Path("video.gif").unlink()
"""


@pytest.mark.slow
def test_every_card_is_valid_and_its_code_runs(
    run_python: Callable[..., Any], hub: LoopbackHub, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (150, 130, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "portrait.png")
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(random.integers(-3000, 3000, 3200, dtype=np.int16).tobytes())
    result = run_python(SNIPPETS % {"cards": str(MODEL_CARDS)}, folder=tmp_path)
    assert set(result) == set(CARDS)
    assert min(result.values()) > 10_000  # five pictures of noise do not fit into less


def test_figures_stand_in_the_model_index() -> None:
    result = Result("Procedural talkers", "procedural", "Jaw correlation", "correlation", 0.5)
    card = render_card(CardDescription("a/b", evaluation=[result], license="mit"))
    index = yaml.safe_load(str(card).split("---")[1])["model-index"]
    assert index[0]["name"] == "b"
    assert index[0]["results"][0]["metrics"][0]["value"] == 0.5
    assert "| Procedural talkers | Jaw correlation | 0.5 |" in card.text


def test_what_a_card_describes_is_text_and_is_not_rendered() -> None:
    hostile = "{{ 7 * 7 }}{% for x in ().__class__.__mro__ %}{% endfor %}"
    assert hostile in render_card(CardDescription("a/b", limits=hostile)).text


@pytest.mark.parametrize(
    "code",
    [
        "{{ repo_id.__class__.__mro__[1].__subclasses__() }}",
        "{{ licenses.update(code='mine') }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include '/etc/passwd' %}",
        "{{ not_described }}",
    ],
)
def test_a_template_with_code_in_it_is_refused(code: str, tmp_path: Path) -> None:
    template = tmp_path / "template.md"
    template.write_text(code)
    with pytest.raises(CheckpointError, match="is refused"):
        render_card(CardDescription("a/b"), template)


def test_a_card_without_a_needed_base_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="base_model"):
        render_card(CardDescription("a/b", kind="lora"))


def test_a_base_model_that_is_no_repository_is_told_in_words() -> None:
    card = render_card(CardDescription("a/b", kind="style-adapter", base_model="my-folder"))
    assert card.data.base_model is None
    assert "my-folder" in card.text
