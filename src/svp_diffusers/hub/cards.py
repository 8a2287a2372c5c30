"""Model cards, rendered from one template.

`python -m svp_diffusers.hub.cards model_cards` writes the project's own cards into that folder.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import DictLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from svp_diffusers.errors import CheckpointError

TEMPLATE = Path(__file__).with_name("card_template.md")
KINDS = ("checkpoint", "lip-sync", "lora", "style", "style-adapter")
BIAS = (
    "MEAD has 60 acted speakers and HDTF politicians and presenters on video platforms. Models "
    "trained on them work less well for other ages, skin tones, languages and ways of speaking."
)
UNKNOWN_LIMITS = "nothing was said of the training data and the quality; ask the owner before use."


@dataclass(frozen=True)
class Result:
    """One figure of an evaluation."""

    dataset: str  # its name, "MEAD (neutral)"
    dataset_type: str  # its id, "mead"
    metric: str  # "SyncNet confidence"
    metric_type: str  # "sync_confidence"
    value: float


@dataclass(frozen=True)
class CardDescription:
    """What a card says.

    Attributes:
        repo_id: of the repository that the card is for.
        kind: a name of `KINDS`.
        limits: what it cannot do: one sentence, the first thing to read.
        base_model: the repository it was made from; all but a checkpoint need one.
        datasets: ids of the datasets it was trained on.
        license: SPDX-like id of the weights' licence; "other" needs `license_name`, `license_link`.
        license_name: name of another licence.
        license_link: its address.
        licenses: licence of each part of the weights.
        training: how it was trained, a sentence.
        evaluation: figures measured with this very checkpoint.
        bias: whom the training data shows, and whom it leaves out.
        takedown: whom to write to.
    """

    repo_id: str
    kind: str = "checkpoint"
    limits: str = UNKNOWN_LIMITS
    base_model: str | None = None
    datasets: list[str] = field(default_factory=list)
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    licenses: dict[str, str] = field(default_factory=dict)
    training: str | None = None
    evaluation: list[Result] = field(default_factory=list)
    bias: str = BIAS
    takedown: str = "open a discussion in this repository."


def render_card(description: CardDescription, template: Path = TEMPLATE) -> ModelCard:
    """Render a card.

    The template runs in a sandbox, and what is described is put in as text, never rendered itself.

    Raises:
        CheckpointError: for an unknown kind, a part without a base model, or a template
            that runs code or names what is not described.
    """
    if description.kind not in KINDS:
        raise CheckpointError(f"A card is of kind {KINDS}, not {description.kind!r}.")
    if description.kind not in ("checkpoint", "lip-sync") and description.base_model is None:
        raise CheckpointError(f"The card of a {description.kind} needs `base_model`.")
    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader({}), undefined=StrictUndefined, keep_trailing_newline=True
    )
    values = {**vars(description), "card_data": _card_data(description).to_yaml()}
    try:
        content = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    except TemplateError as error:
        raise CheckpointError(f"The card template {template} is refused: {error}") from error
    return ModelCard(content)


def _card_data(description: CardDescription) -> ModelCardData:
    tags = ["talking-head", "portrait-animation", "audio-driven", "svp"]
    task = "image-to-video"
    if description.kind == "lip-sync":
        tags, task = ["audio-driven"], "video-to-video"
    tags += [description.kind] if description.kind != "checkpoint" else []
    # The Hub refuses a card whose base model is no repository: of a local one the text tells.
    base_model = description.base_model if "/" in (description.base_model or "") else None
    others: dict[str, Any] = {}
    if description.evaluation:
        others["model_name"] = description.repo_id.split("/")[-1]
        others["eval_results"] = [
            EvalResult(
                task_type=task,
                dataset_type=result.dataset_type,
                dataset_name=result.dataset,
                metric_type=result.metric_type,
                metric_name=result.metric,
                metric_value=result.value,
            )
            for result in description.evaluation
        ]
    return ModelCardData(
        library_name="diffusers",
        pipeline_tag=task,
        tags=tags,
        base_model=base_model,
        datasets=description.datasets or None,
        license=description.license,
        license_name=description.license_name,
        license_link=description.license_link,
        **others,
    )


_FULL_SIZE_LICENSES = {
    "vae, reference_unet, unet (Stable Diffusion 1.5)": "CreativeML OpenRAIL-M",
    "motion modules (AnimateDiff)": "Apache-2.0",
    "audio_encoder (wav2vec 2.0)": "Apache-2.0",
    "what was trained here": "of the training data: MEAD and HDTF are for research only",
}
_UNTRAINED = "this is a template of a card: no such weights are published yet."

CARDS = {
    "svp-tiny": CardDescription(
        "svp-diffusers/svp-tiny",
        limits="it animates rendered and drawn people, to English speech of a synthesiser. It "
        "generates 128 pixels, and what changes is soft; what does not has the portrait's own "
        "detail. Photographs and paintings stay recognisable, with dark mouths without teeth; lips "
        "follow real speech weakly, a mouth that stands open in the portrait stays open, closed "
        "lips melt into the skin, a moustache or glasses may vanish, and mouth and chin may "
        "dissolve for a moment, the whole face where the head turns far or the light comes from "
        "the side. Styles are weak: of eight, 52 % are recovered in drawn people and 29 % in "
        "rendered ones (59 and 44 in true frames). Portraits that its VAE does not know come out "
        "wrong; it warns.",
        license="apache-2.0",
        licenses={"all weights": "Apache-2.0"},
        training="from nothing, on procedural talkers only: drawn and rendered people whose every "
        "muscle is known, and voices of espeak-ng. No real face or voice is in it, but in the "
        "training of its face landmarker, which is Google's (see its folder). The stages of "
        "`svp train tiny` made it of drawn people on 2 CPU cores (33,510 pictures for the VAE, "
        "7,600 steps of 16 frames of 278 people for the denoiser); then the VAE was trained "
        "further on 400 people, and the denoiser, for 1,053 steps of 256 frames on one H200, on "
        "200, most of them rendered from CC0 models; and last for 2,600 steps of 24 frames on one "
        "core, where sampling in one step starts (the mean with what it was before), twice for 850 "
        "on 120 people whose rounded lips close (the mean), and for 1,100 and twice 500 on the "
        "same people with lips that were held against real ones (the mean). The VAE's decoder was "
        "trained for 3,000 steps of 8 frames more, of 1,098 people, on one core. "
        "The motion modules are switched off. How heads move was learned from the poses of the "
        "drawn talkers. `svp evaluate tiny` measures it on people, voices and sentences that no "
        "stage sees.",
        bias="the people are drawn or rendered by a few rules, with eight emotions that are acted "
        "by rule too, and speak English in a synthesiser's voices. Nobody real looks or speaks "
        "like that.",
    ),
    "full-size": CardDescription(
        "svp-diffusers/svp",
        limits=f"{_UNTRAINED} A checkpoint of full size needs a GPU.",
        base_model="stable-diffusion-v1-5/stable-diffusion-v1-5",
        license="creativeml-openrail-m",
        licenses=_FULL_SIZE_LICENSES,
    ),
    "fine-tune": CardDescription(
        "svp-diffusers/svp-fine-tune",
        limits=f"{_UNTRAINED} A fine-tune has few speakers, and does worse on all others.",
        base_model="svp-diffusers/svp",
        license="creativeml-openrail-m",
        licenses=_FULL_SIZE_LICENSES,
    ),
    "lora": CardDescription(
        "svp-diffusers/svp-speaker-lora",
        kind="lora",
        limits=f"{_UNTRAINED} It is for one speaker, and for its base model alone.",
        base_model="svp-diffusers/svp",
        license="creativeml-openrail-m",
        licenses={"LoRA": "CreativeML OpenRAIL-M, as its base model"},
    ),
    "style-adapter": CardDescription(
        "svp-diffusers/svp-style-adapter",
        kind="style-adapter",
        limits=f"{_UNTRAINED} It is for its base model alone, which refuses all others.",
        base_model="svp-diffusers/svp",
        license="creativeml-openrail-m",
        licenses={"style adapter": "CreativeML OpenRAIL-M, as its base model"},
    ),
    "style": CardDescription(
        "svp-diffusers/svp-style-happy",
        kind="style",
        limits=f"{_UNTRAINED} A style belongs to the style encoder that made it, and no other.",
        base_model="svp-diffusers/svp",
        license="apache-2.0",
        licenses={"style": "Apache-2.0"},
    ),
}


if __name__ == "__main__":
    for file_name, card in CARDS.items():
        render_card(card).save(Path(sys.argv[1]) / f"{file_name}.md")
