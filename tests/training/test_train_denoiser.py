"""Stages 2 and 3: they learn, leave alone what is not theirs, and go on exactly after a kill."""

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import Wav2Vec2Model

from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.generation.generate import decode_side_by_side
from svp_diffusers.generation.streaming import Performed
from svp_diffusers.hub.push import describe_folder
from svp_diffusers.media.audio import Recording, read_audio, to_mono
from svp_diffusers.media.mark import read_mark
from svp_diffusers.media.video import probe, read_frames
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.models.style_encoder_svp import StyleEncoder
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.configuration import (
    ImageTrainingConfiguration,
    VideoTrainingConfiguration,
)
from svp_diffusers.training.denoiser.image_stage import train_image
from svp_diffusers.training.denoiser.video_stage import train_video
from svp_diffusers.training.loop.validation_video import ValidationVideo
from svp_diffusers.training.loop.yaml_file import load_configuration
from training_runs import (
    check_resumption,
    read_metrics,
    read_weights,
    train_in_two_processes,
    train_sharded,
)

SIZE = 32
FULL_SIZE = Path(__file__).parents[2] / "examples/full_size"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def expression_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("expression_encoder")
    names = ("jawOpen", "mouthPucker", "browInnerUp")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ExpressionEncoder(4, names, block_out_channels=(8, 8)).save_pretrained(folder)
    return folder


Configure = Callable[..., ImageTrainingConfiguration]


@pytest.fixture
def configure(cached: Path, start: Path, expression_encoder: Path, tmp_path: Path) -> Configure:
    """Options of an image stage of seconds; keywords override them."""

    def configure(output: str = "run", **options: Any) -> ImageTrainingConfiguration:
        return ImageTrainingConfiguration(
            **{
                "data": str(cached),
                "pipeline": str(start),
                "expression_encoder": str(expression_encoder),
                "output_dir": str(tmp_path / output),
                "clips_per_batch": 4,
                "frames_per_clip": 2,
                "validation_clips": 2,
                "learning_rate": 2e-3,
                "warmup_steps": 2,
                "log_every": 1,
                **options,
            }
        )

    return configure


def as_video(configuration: ImageTrainingConfiguration, **options: Any) -> Any:
    """The same options for the video stage."""
    return VideoTrainingConfiguration(**{**vars(configuration), "frames_per_clip": 6, **options})


def read_unet(configuration: Any) -> dict[str, torch.Tensor]:
    return read_weights(configuration, "pipeline/unet")


def changed(configuration: Any) -> set[str]:
    """Names of the UNet's weights that training changed."""
    before = load_file(Path(configuration.pipeline) / UNET)
    return {name for name, w in read_unet(configuration).items() if not w.equal(before[name])}


def test_images_are_learned_and_motion_modules_left_alone(configure: Configure) -> None:
    configuration = configure(steps=60, validate_every=20)
    folder = train_image(configuration)
    metrics = read_metrics(configuration)
    errors = [line["denoising"] for line in metrics if "denoising" in line]
    assert sum(errors[-10:]) / 10 < 0.6 * sum(errors[:5]) / 5
    assert sum("validation_jaw" in line for line in metrics) == 3
    names = changed(configuration)
    assert not any("motion_modules" in name for name in names)
    for part in ("attn_reference", "attn2", "attn_style", "modulation", "condition_in", "conv_in"):
        assert any(part in name for name in names), part
    unet = SVPTalkingHeadPipeline.from_pretrained(folder).unet
    assert unet.config.reference_channels == 4
    assert unet.config.motion_modules_enabled  # as before, though this stage left them out


@pytest.mark.parametrize("parts", ["motion", "all"])
def test_video_trains_the_parts_that_are_asked_for(configure: Configure, parts: str) -> None:
    configuration = as_video(configure(steps=3), parts=parts)
    train_video(configuration)
    names = changed(configuration)
    for part in ("motion_modules", "attn2", "attn_style"):
        assert any(part in name for name in names), part
    others = {n for n in names if "resnets" in n or "conv_in" in n or "attn_reference" in n}
    assert bool(others) == (parts == "all")


@pytest.mark.parametrize("stage", ["image", "video"])
def test_a_validation_leaves_a_video_of_truth_and_sample(
    configure: Configure, cached: Path, stage: str
) -> None:
    configuration = configure(steps=4, validate_every=2)
    if stage == "image":
        train_image(configuration)
    else:
        configuration = as_video(configuration)
        train_video(configuration)
    early, late = sorted((Path(configuration.output_dir) / "validation").iterdir())
    assert (early.name, late.name) == ("step-000002.mp4", "step-000004.mp4")
    info = probe(late)
    assert (info.width, info.height, info.frames, info.fps) == (2 * SIZE, SIZE, 20, 20)
    clip = ClipDataset(str(cached), "validation")[0].decode()
    heard = to_mono(read_audio(late))[: len(clip.waveform)]
    assert np.corrcoef(heard, clip.waveform)[0, 1] > 0.9  # AAC is lossy
    assert read_mark(late)
    frames = np.stack(list(read_frames(late))).astype(float)
    pipeline = SVPTalkingHeadPipeline.from_pretrained(configuration.pipeline)
    latents = torch.from_numpy(clip.latents).float().transpose(0, 1)
    true = np.stack(list(decode_side_by_side(pipeline, [[Performed(latents)]])))
    left, right = (np.abs(half - true).mean() for half in np.split(frames, 2, axis=2))
    assert left < right / 2  # an untrained VAE's colours are so wild that H.264 loses much of them


def test_tensorboard_gets_a_strip_of_the_video(configure: Configure) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    configuration = configure(steps=2, validate_every=1, tracker="tensorboard")
    train_image(configuration)
    (events,) = Path(configuration.output_dir).rglob("events.out.tfevents.*")
    first, second = EventAccumulator(str(events)).Reload().Images("validation_clip")
    assert (first.step, second.step) == (1, 2)
    assert (first.width, first.height) == (8 * SIZE, 2 * SIZE)


def test_the_strip_shows_the_truth_above_the_sample() -> None:
    frames = np.zeros((15, 4, 12, 3), np.uint8)
    frames[:, :, :6] = np.arange(15)[:, None, None, None]
    frames[:, :, 6:] = 100 + np.arange(15)[:, None, None, None]
    strip = ValidationVideo(
        frames, Fraction(25), Recording(np.zeros((1, 0)), 16000, "")
    ).make_strip()
    assert strip.shape == (8, 48, 3)
    for column, moment in enumerate(range(0, 15, 2)):
        assert (strip[:4, 6 * column : 6 * column + 6] == moment).all()
        assert (strip[4:, 6 * column : 6 * column + 6] == 100 + moment).all()


@pytest.mark.slow
def test_a_look_at_a_clip_leaves_training_as_it_was(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its weights and random state, on which resuming depends."""
    encode = Wav2Vec2Model.forward

    def draw_and_encode(*arguments: Any, **options: Any) -> Any:
        torch.rand([])  # as it does in transformers 5.0
        return encode(*arguments, **options)

    monkeypatch.setattr(Wav2Vec2Model, "forward", draw_and_encode)
    looking = as_video(configure("looking", steps=2, validate_every=1))
    blind = as_video(configure("blind", steps=2))
    states = []
    for configuration in (looking, blind):
        AcceleratorState._reset_state(reset_partial_state=True)
        torch.manual_seed(0)
        train_video(configuration)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    weights = read_unet(blind)
    assert all(torch.equal(weights[name], w) for name, w in read_unet(looking).items())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["image", "video"])
def test_a_killed_run_goes_on_bit_for_bit(configure: Configure, stage: str) -> None:
    options = {"steps": 12, "checkpoint_every": 3, "validate_every": 5}
    whole, broken = configure("whole", **options), configure("broken", **options)
    if stage == "video":
        whole, broken = as_video(whole, parts="all"), as_video(broken, parts="all")
    check_resumption(stage, whole, broken, "pipeline/unet")


@pytest.mark.slow
def test_two_processes_do_what_one_does(configure: Configure) -> None:
    one, two = configure("one", steps=4), configure("two", steps=4)
    train_image(one)
    train_in_two_processes("image", two)
    # Sums over a batch are taken in another order: errors of 1e-7, which Adam's first steps
    # amplify where a gradient is almost zero.
    for alone, together in zip(read_metrics(one), read_metrics(two), strict=True):
        assert together == pytest.approx(alone, rel=1e-3)


@pytest.mark.slow
def test_weights_divided_by_fsdp_learn_what_whole_ones_do(configure: Configure) -> None:
    options = {"steps": 4, "validate_every": 2}
    one, two = configure("one", **options), configure("two", **options)
    train_image(one)
    train_sharded("image", two, FULL_SIZE / "zero3.yaml")
    assert read_metrics(two) == [pytest.approx(each, rel=1e-3) for each in read_metrics(one)]
    weights = read_unet(two)
    assert all(torch.allclose(weights[k], w, atol=1e-4) for k, w in read_unet(one).items())


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["zero2", "zero3"])
def test_a_stopped_run_of_divided_weights_goes_on(configure: Configure, sharding: str) -> None:
    options = {"steps": 4, "checkpoint_every": 2, "parts": "all", "gradient_checkpointing": True}
    configuration = as_video(configure(), **options)
    train_sharded("video", configuration, FULL_SIZE / f"{sharding}.yaml")
    expected, metrics = read_unet(configuration), read_metrics(configuration)
    run = Path(configuration.output_dir)
    for folder in ("pipeline", "checkpoint-00000004"):
        shutil.rmtree(run / folder)
    train_sharded("video", configuration, FULL_SIZE / f"{sharding}.yaml", resume=True)
    assert read_metrics(configuration) == metrics
    assert all(torch.equal(expected[k], w) for k, w in read_unet(configuration).items())


@pytest.mark.parametrize("name", ["image", "motion", "all"])
def test_the_configurations_of_full_size_are_valid(name: str) -> None:
    kind = ImageTrainingConfiguration if name == "image" else VideoTrainingConfiguration
    assert load_configuration(FULL_SIZE / f"{name}.yaml", kind).gradient_checkpointing


def test_accumulation_equals_a_larger_batch(configure: Configure) -> None:
    large = configure("large", steps=3, clips_per_batch=4)
    small = configure("small", steps=3, clips_per_batch=2, gradient_accumulation=2)
    train_image(large)
    train_image(small)
    weights = read_unet(small)
    # Sums are taken in another order, which Adam's first steps amplify where gradients vanish;
    # three steps of other batches differ by up to 6e-3 (their sizes are the learning rate's).
    differences = [(w - weights[name]).abs().mean() for name, w in read_unet(large).items()]
    assert torch.stack(differences).max() < 1e-4


def test_lora_trains_the_unet_by_low_rank_updates_alone(configure: Configure) -> None:
    configuration = configure(steps=3, lora_rank=2, lora_alpha=6.0)
    folder = train_image(configuration)
    assert folder.name == "lora"
    card = describe_folder(folder, "org/speaker", "lora")
    assert card.base_model == Path(configuration.pipeline).name
    assert "for its base model alone" in card.limits
    again = configure("again", steps=3, lora_rank=2, lora_alpha=6.0)
    train_image(again)
    weights = read_weights(configuration, "lora")
    assert all(torch.equal(weights[k], w) for k, w in read_weights(again, "lora").items())
    pipeline = SVPTalkingHeadPipeline.from_pretrained(configuration.pipeline)
    before = {name: weight.clone() for name, weight in pipeline.unet.state_dict().items()}
    pipeline.load_lora_weights(str(folder))
    after = pipeline.unet.state_dict()
    (loaded,) = pipeline.unet.peft_config.values()
    assert loaded.lora_alpha == 6
    for name, weight in before.items():
        kept = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        if kept is not None:
            assert torch.equal(kept, weight), name
    learned = [weight for name, weight in after.items() if "lora_B" in name]
    assert learned
    assert any(weight.any() for weight in learned)  # they start at zero


def test_batches_are_the_same_for_the_same_number(configure: Configure, cached: Path) -> None:
    configuration = configure(joint_dropout=0.5)
    encoder = StyleEncoder.tiny(expression_dim=52, expression_space="arkit52")
    dataset = ClipDataset(str(cached), "train")
    batches = DenoisingBatches(dataset, encoder, configuration, 2, False)
    first, again, other = batches(7, 0, 1), batches(7, 0, 1), batches(8, 0, 1)
    assert all(torch.equal(values, again[name]) for name, values in first.items())
    assert not torch.equal(first["noise"], other["noise"])
    kept = torch.stack([batches(n, 0, 1)["keep_audio"] for n in range(50)]).mean()
    assert 0.35 < kept < 0.65  # 200 draws of (1 - 0.5) * (1 - 0.05)
    with pytest.raises(ConfigurationError, match="does not divide"):
        batches(0, 0, 3)


def test_the_noise_of_a_clip_is_shared_as_asked(configure: Configure, cached: Path) -> None:
    encoder = StyleEncoder.tiny(expression_dim=52, expression_space="arkit52")
    for share in (0.0, 1.0):
        configuration = as_video(configure(), shared_noise=share)
        batches = DenoisingBatches(
            ClipDataset(str(cached), "train"), encoder, configuration, 2, True
        )
        noise = batches(0, 0, 1)["noise"]  # (4, 4, 6, 4, 4)
        assert noise.var(dim=2).mean() == pytest.approx(1 - share, abs=0.15)


def test_what_cannot_be_trained_is_refused_before_training(
    configure: Configure, drawn_talkers: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="svp data cache"):
        train_image(configure(data=drawn_talkers))
    with pytest.raises(DatasetError, match="fewer than frames_per_clip"):
        train_image(configure(frames_per_clip=30))
    with pytest.raises(ConfigurationError, match="clips_per_batch"):
        train_image(configure(clips_per_batch=100))
    assert not (tmp_path / "run").exists()
