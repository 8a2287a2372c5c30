"""A small set of drawn talkers to train on, frames and cached, and a pipeline to train."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline
from svp_diffusers.data.cache import cache_dataset
from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.talkers.synthesis import SynthesisSettings, make_clip

SIZE = 32


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps one state a process; every test here stands for a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def drawn_talkers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 clips to train on and 4 to validate with, of 10 pictures of 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("drawn_talkers")
    settings = SynthesisSettings(seed=5, size=32, fps=Fraction(10), seconds=1.0)
    with ShardWriter(folder) as writer:
        for index in (*range(24), *range(32, 36)):
            writer.write(encode_clip(make_clip(settings, index)))
    return str(folder)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained pipeline of tiny networks, with the helpers of svp-tiny."""
    sizes: dict[str, Any] = {
        "sample_size": SIZE // 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": 32,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        components = {
            **build_random_pipeline().components,
            "unet": TemporalUNet(
                **sizes,
                down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
                up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
                num_attention_heads=2,
                motion_num_attention_heads=2,
                style_dim=16,
                num_style_tokens=2,
                reference_channels=4,
                adaptive_norm=True,
            ),
            "reference_unet": ReferenceUNet(
                **sizes,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                attention_head_dim=2,
            ),
            "head_guider": HeadKeypointGuider(16, block_out_channels=(8, 8, 16, 16)),
            "audio_projector": AudioProjector(
                embed_dim=32, output_dim=32, hidden_dim=32, depth=1, dim_head=16, heads=2
            ),
            "style_encoder": StyleEncoder.tiny(expression_dim=52, expression_space="arkit52"),
        }
    folder = tmp_path_factory.mktemp("start")
    SVPTalkingHeadPipeline(**components).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cached(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips to train on and 4 to validate with, of 20 frames."""
    drawn, folder = tmp_path_factory.mktemp("drawn"), tmp_path_factory.mktemp("cached")
    settings = SynthesisSettings(seed=5, size=SIZE, fps=Fraction(20), seconds=1.0)
    with ShardWriter(drawn) as writer:
        for index in (*range(24), *range(32, 36)):
            writer.write(encode_clip(make_clip(settings, index)))
    pipeline = SVPTalkingHeadPipeline.from_pretrained(start)
    cache_dataset(ClipDataset(str(drawn)), folder, lambda: pipeline, batch_size=20)
    return folder
