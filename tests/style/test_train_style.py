"""Training of the style prior: it learns, and it goes on exactly where it was interrupted."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.training.style import train_style
from svp_diffusers.training.style_configuration import StyleTrainingConfiguration

Configure = Callable[..., StyleTrainingConfiguration]


def read_metrics(configuration: StyleTrainingConfiguration) -> list[dict[str, float]]:
    lines = (Path(configuration.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_training_lowers_the_loss_and_gives_an_encoder_with_named_styles(
    configure: Configure,
) -> None:
    configuration = configure(steps=60)
    folder = train_style(configuration)
    losses = [line["contrastive"] for line in read_metrics(configuration)]
    assert len(losses) == 60
    # Means of ten steps; 0.3 nats is well over the noise between batches.
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.3
    encoder = StyleEncoder.from_pretrained(folder)
    assert list(encoder.style_bank) == ["calm", "loud"]
    assert encoder.config.encoder_id == encoder.get_style("calm").encoder_id
    assert len(encoder.config.encoder_id) == 16
    assert encoder.config.audio_features == "log-mel-80"
