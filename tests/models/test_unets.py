"""What training and deployment need of the UNets, on tiny random weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline, initialise
from svp_diffusers.media.keypoints import draw_head_keypoints
from svp_diffusers.models.audio_projector_svp import AudioProjector
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider
from svp_diffusers.models.reference_unet_svp import ReferenceUNet
from svp_diffusers.models.temporal_unet_svp import RegionalAudio, TemporalUNet

FRAMES = 3
ROUNDING = 1e-5  # the same arithmetic in another order, fp32, on values near 1
SIZES: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed))


@pytest.fixture
def unets() -> tuple[ReferenceUNet, TemporalUNet]:
    pipeline = build_random_pipeline()
    return pipeline.reference_unet, pipeline.unet


def stable_diffusion() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        **SIZES,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
    )
    initialise(unet, seeded())
    return unet.eval()


def inputs(reference: ReferenceUNet, batch: int = 2) -> dict[str, Any]:
    return {
        "sample": draw(batch, 4, FRAMES, 8, 8),
        "timestep": 500,
        "encoder_hidden_states": draw(batch * FRAMES, 5, 32, seed=1),
        "style": draw(batch, 16, seed=2),
        "reference_features": reference(draw(batch, 4, 8, 8, seed=3)),
        "head_features": draw(batch, 16, FRAMES, 8, 8, seed=4),
    }


def test_reference_features_are_what_enters_cross_attention() -> None:
    stock = stable_diffusion()
    seen: dict[str, torch.Tensor] = {}
    for name, module in stock.named_modules():
        if name.endswith("attn2"):
            module.register_forward_pre_hook(
                lambda module, arguments, name=name: seen.update({name: arguments[0]})
            )
    reference = ReferenceUNet.from_unet2d(stock)
    latents = draw(2, 4, 8, 8)
    with torch.no_grad():
        stock(latents, 0, torch.zeros(2, 1, 32))
        features = reference(latents)
    assert len(features) == len(seen) == 4
    for name, feature in features.items():
        assert torch.equal(feature, seen[f"{name}.transformer_blocks.0.attn2"])


def test_frames_may_share_a_context(unets: tuple[ReferenceUNet, TemporalUNet]) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        shared = unet(**given).sample
        style = given["style"][:, None].expand(-1, FRAMES, -1)
        features = {
            name: feature.repeat_interleave(FRAMES, dim=0)
            for name, feature in given["reference_features"].items()
        }
        repeated = unet(**{**given, "style": style, "reference_features": features}).sample
    assert (shared - repeated).abs().max() < ROUNDING


def test_every_condition_matters(unets: tuple[ReferenceUNet, TemporalUNet]) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        full = unet(**given).sample
        for name in ("style", "reference_features", "head_features"):
            assert (full - unet(**{**given, name: None}).sample).abs().mean() > 1e-3
        silent = torch.zeros_like(given["encoder_hidden_states"])
        changed = unet(**{**given, "encoder_hidden_states": silent}).sample
        assert (full - changed).abs().mean() > 1e-3


def test_a_clip_without_a_style_is_predicted_as_by_a_net_that_is_given_none(
    unets: tuple[ReferenceUNet, TemporalUNet],
) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        for style in (given["style"], given["style"][:, None].expand(-1, FRAMES, -1)):
            styled, none = (unet(**{**given, "style": each}).sample for each in (style, None))
            masked = unet(**{**given, "style": style}, style_mask=torch.tensor([1.0, 0.0])).sample
            assert (masked[0] - styled[0]).abs().max() < ROUNDING
            assert (masked[1] - none[1]).abs().max() < ROUNDING
            assert (styled[1] - none[1]).abs().mean() > 1e-3


def test_every_block_hears_the_audio_before_it_takes_the_style(
    unets: tuple[ReferenceUNet, TemporalUNet],
) -> None:
    """The order of the paper, section 3.2, in which published weights were trained."""
    reference, unet = unets
    parts = ("attn1", "attn_reference", "attn2", "attn_style", "ff")
    called: list[str] = []
    for path, module in unet.named_modules():
        name = path.rpartition(".")[2]
        if name in parts and ".transformer_blocks." in path and "motion" not in path:
            module.register_forward_pre_hook(lambda *_, name=name: called.append(name))
    with torch.no_grad():
        unet(**inputs(reference))
    assert called == [*parts] * (len(called) // len(parts))
    assert len(called) > len(parts)


def test_no_condition_is_attention_over_zeros(
    unets: tuple[ReferenceUNet, TemporalUNet],
) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        zeros = {
            name: torch.zeros_like(feature) for name, feature in given["reference_features"].items()
        }
        none = unet(**{**given, "reference_features": None, "head_features": None}).sample
        zero = unet(
            **{
                **given,
                "reference_features": zeros,
                "head_features": torch.zeros_like(given["head_features"]),
            }
        ).sample
    assert (none - zero).abs().max() < ROUNDING


def test_gradient_checkpointing_gives_the_same_gradients(
    unets: tuple[ReferenceUNet, TemporalUNet],
) -> None:
    def gradients() -> dict[str, torch.Tensor]:
        for model in unets:
            model.zero_grad()
        unets[1](**inputs(unets[0])).sample.square().mean().backward()
        return {
            f"{type(model).__name__}.{name}": weight.grad.clone()
            for model in unets
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }

    expected = gradients()
    for model in unets:
        model.train()
        model.enable_gradient_checkpointing()
    checkpointed = gradients()
    assert expected.keys() == checkpointed.keys()
    assert any("attn_style" in name for name in expected)
    assert any("ReferenceUNet" in name for name in expected)
    for name, gradient in expected.items():
        assert torch.allclose(gradient, checkpointed[name], atol=1e-6), name


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_compiles_without_a_graph_break(
    unets: tuple[ReferenceUNet, TemporalUNet], fresh_compiler: None
) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        expected = unet(**given).sample
        # The eager backend needs no C++ compiler; graph breaks do not depend on the backend.
        compiled_reference = torch.compile(reference, backend="eager", fullgraph=True)
        features = compiled_reference(draw(2, 4, 8, 8, seed=3))
        compiled = torch.compile(unet, backend="eager", fullgraph=True)
        given["reference_features"] = features
        assert (compiled(**given).sample - expected).abs().max() < ROUNDING


def test_the_smaller_components_compile(fresh_compiler: None) -> None:
    pipeline = build_random_pipeline()
    windows, pictures = draw(6, 10, 32), draw(1, 3, 2, 64, 64)
    clip = {"expression": draw(2, 40, 64), "audio": draw(2, 80, 32)}
    with torch.no_grad():
        for model, given in (
            (pipeline.audio_projector, {"windows": windows}),
            (pipeline.head_guider, {"keypoint_images": pictures}),
            (pipeline.style_encoder, clip),
        ):
            output = torch.compile(model, backend="eager", fullgraph=True)(**given)
            expected = model(**given)
            if model is pipeline.style_encoder:
                output, expected = output.mean, expected.mean
            assert (output - expected).abs().max() < ROUNDING


def test_compiles_its_repeated_blocks(
    unets: tuple[ReferenceUNet, TemporalUNet], fresh_compiler: None
) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        expected = unet(**given).sample
        unet.compile_repeated_blocks(backend="eager", fullgraph=True)
        assert (unet(**given).sample - expected).abs().max() < ROUNDING


def test_lora_through_peft(unets: tuple[ReferenceUNet, TemporalUNet], tmp_path: Path) -> None:
    reference, unet = unets
    with torch.no_grad():
        given = inputs(reference)
        before = unet(**given).sample
        config = LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
        unet.add_adapter(config, adapter_name="speaker")
        assert torch.equal(unet(**given).sample, before)  # a new adapter changes nothing
        weights = get_peft_model_state_dict(unet, adapter_name="speaker")
        assert any("attn_style" in key for key in weights)
        assert any("attn_reference" in key for key in weights)
        for name, weight in unet.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=seeded())
        assert (unet(**given).sample - before).abs().mean() > 1e-3
        unet.save_lora_adapter(tmp_path, adapter_name="speaker")
        adapted = unet(**given).sample
        unet.disable_adapters()
        assert torch.equal(unet(**given).sample, before)
        fresh = build_random_pipeline().unet
        fresh.load_lora_adapter(
            str(tmp_path), prefix=None, weight_name="pytorch_lora_weights.safetensors"
        )
        assert (fresh(**given).sample - adapted).abs().max() < ROUNDING


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_random_pipeline().unet,
        lambda: build_random_pipeline().reference_unet,
        lambda: HeadKeypointGuider(8, block_out_channels=(4, 8)),
        lambda: AudioProjector(8, 8, 8, depth=1, dim_head=4, heads=2),
    ],
)
def test_saves_and_loads(build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = build()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(w, expected[key]) for key, w in loaded.state_dict().items())
    for key, value in model.config.items():
        if not key.startswith("_"):
            assert json.dumps(loaded.config[key]) == json.dumps(value), key
    assert "not expected" not in caplog.text


def test_defaults_are_stable_diffusion_1_5() -> None:
    with torch.device("meta"):
        unet, reference = TemporalUNet(), ReferenceUNet()
    # The sizes that the published parts have: 859.52 M of Stable Diffusion 1.5 without, here, the
    # output layers; 909.12 M spatial + 453.21 M motion with the style attention on top.
    assert round(sum(p.numel() for p in reference.parameters()) / 1e6, 2) == 859.51
    style = sum(
        p.numel()
        for name, p in unet.named_parameters()
        if any(part in name for part in ("attn_style", "norm_style", "style_projection"))
    )
    total = sum(p.numel() for p in unet.parameters())
    assert abs((total - style) / 1e6 - 1362.33) < 0.02


def test_starts_from_stable_diffusion_and_animatediff() -> None:
    stock = stable_diffusion()
    adapter = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_norm_num_groups=8,
        motion_num_attention_heads=2,
        use_motion_mid_block=True,
    )
    initialise(adapter, seeded(1))
    unet = TemporalUNet.from_unet2d(stock, adapter, style_dim=16).eval()
    motion = adapter.state_dict()
    assert all(torch.equal(unet.state_dict()[key], value) for key, value in motion.items())
    given = inputs(ReferenceUNet.from_unet2d(stock))
    without = TemporalUNet.from_unet2d(stock, style_dim=16).eval()
    with torch.no_grad():
        for model in (unet, without):
            other = {**given, "style": given["style"] + 1}
            assert torch.equal(model(**given).sample, model(**other).sample)
        whole = without(**given).sample
        one = {
            **given,
            "sample": given["sample"][:, :, :1],
            "head_features": given["head_features"][:, :, :1],
            "encoder_hidden_states": given["encoder_hidden_states"][::FRAMES],
        }
        assert (whole[:, :, :1] - without(**one).sample).abs().max() < ROUNDING
        assert (unet(**given).sample - whole).abs().max() > 1e-3


def test_a_checkpoint_without_our_weights_is_refused(tmp_path: Path) -> None:
    stock = UNetMotionModel.from_unet2d(stable_diffusion())
    stock.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="from_unet2d"):
        TemporalUNet.from_pretrained(tmp_path)


def test_what_cannot_work_is_refused(unets: tuple[ReferenceUNet, TemporalUNet]) -> None:
    with pytest.raises(NotImplementedError, match="fused"):
        unets[1].fuse_qkv_projections()
    with pytest.raises(ValueError, match="transformer layers"):
        TemporalUNet(
            **SIZES,
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
            num_attention_heads=2,
            motion_num_attention_heads=2,
            transformer_layers_per_block=2,
        )


def test_motion_modules_are_left_out_where_a_checkpoint_says_so(tmp_path: Path) -> None:
    unet = build_random_pipeline().unet
    sample = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(3, 5, unet.config.cross_attention_dim)
    with_motion = unet(sample, 5, tokens).sample
    unet.enable_motion_modules(False)
    without = unet(sample, 5, tokens).sample
    assert (with_motion - without).abs().mean() > 1e-3
    # Without them a frame does not depend on the others.
    torch.testing.assert_close(unet(sample[:, :, :1], 5, tokens[:1]).sample, without[:, :, :1])
    unet.save_pretrained(tmp_path)
    loaded = TemporalUNet.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(sample, 5, tokens).sample, without)


def test_the_pose_reaches_the_features_of_a_new_guider() -> None:
    guider = HeadKeypointGuider(64, block_out_channels=(8, 16, 32, 64))
    torch.nn.init.kaiming_normal_(guider.embedding.conv_out.weight, generator=seeded())
    points = np.random.default_rng(0).uniform(32, 96, (16, 8, 2)).astype(np.float32)
    pictures = torch.from_numpy(draw_head_keypoints(points, 128, 128)).transpose(0, 1)
    features = guider(pictures[None])
    # What differs between poses is at least a fifth of the whole: 1e-4 with PyTorch's own weights.
    assert features.std(dim=2).square().mean() > 0.04 * features.square().mean()


def test_the_portrait_is_a_part_of_the_prediction_from_the_first_step(tmp_path: Path) -> None:
    sizes = {
        **SIZES,
        "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
        "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
        "num_attention_heads": 2,
        "motion_num_attention_heads": 2,
    }
    unet = TemporalUNet(**sizes, reference_channels=4, reference_skip=True)
    sample, reference = draw(2, 4, FRAMES, 8, 8), draw(1, 4, 8, 8, seed=1)
    call = {
        "sample": sample,
        "timestep": torch.tensor([999, 10]),
        "encoder_hidden_states": draw(2 * FRAMES, 5, 32, seed=2),
    }
    assert unet.skip_weights is not None
    before = unet(**call, reference_latents=reference).sample
    without = unet(**call).sample
    torch.nn.init.constant_(unet.skip_weights.bias, 0.5)
    skip = unet(**call, reference_latents=reference).sample - before
    torch.testing.assert_close(skip, 0.5 * (sample + reference[:, :, None]))
    torch.testing.assert_close(unet(**call).sample - without, 0.5 * sample)
    torch.nn.init.normal_(unet.skip_weights.weight, generator=seeded(3))
    skip = unet(**call, reference_latents=reference).sample - before
    share = skip / (sample + reference[:, :, None])
    assert (share[0] - share[1]).abs().mean() > 0.1  # it depends on the timestep
    unet.save_pretrained(tmp_path)
    loaded = TemporalUNet.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**call, reference_latents=reference).sample, before + skip)
    with pytest.raises(ValueError, match="reference_channels 8"):
        TemporalUNet(**sizes, reference_channels=8, reference_skip=True)


def build_adaptive() -> TemporalUNet:
    unet = TemporalUNet(
        **SIZES,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        num_attention_heads=2,
        motion_num_attention_heads=2,
        adaptive_norm=True,
    )
    initialise(unet, seeded())
    return unet


@pytest.mark.parametrize("name", ["audio", "style"])
def test_a_scale_of_0_leaves_no_way_for_a_condition(name: str) -> None:
    """Neither by the attention nor by the adaptive norm."""
    unet = build_adaptive()

    def predict(seed: int, **scales: float) -> torch.Tensor:
        seeds = {"audio": 1, "style": 2, name: seed}
        call = {
            "sample": draw(1, 4, FRAMES, 8, 8),
            "timestep": 500,
            "encoder_hidden_states": draw(FRAMES, 5, 32, seed=seeds["audio"]),
            "style": draw(1, 128, seed=seeds["style"]),
        }
        predicted: torch.Tensor = unet(**call, **scales).sample
        return predicted

    scale = f"{name}_attention_scale"
    with torch.no_grad():
        assert torch.equal(predict(3, **{scale: 0.0}), predict(4, **{scale: 0.0}))
        assert (predict(3) - predict(4)).abs().mean() > 1e-3
        half = predict(3, **{scale: 0.5})
        assert (half - predict(3)).abs().mean() > 1e-4
        assert (half - predict(3, **{scale: 0.0})).abs().mean() > 1e-4


def test_adaptive_norms_are_told_the_mean_of_the_tokens_as_much_as_the_scales_say() -> None:
    unet = build_adaptive()
    told: list[torch.Tensor] = []
    assert unet.condition_embedding is not None
    unet.condition_embedding.register_forward_pre_hook(lambda module, given: told.append(given[0]))
    tokens, style = draw(FRAMES, 5, 32, seed=1), draw(1, 128, seed=2)
    scales = {"audio_attention_scale": 0.5, "style_attention_scale": 2.0}
    with torch.no_grad():
        unet(draw(1, 4, FRAMES, 8, 8), 500, tokens, style, **scales)
        styled = unet.style_projection(style).mean(dim=1).expand(FRAMES, -1)
    wanted = torch.cat([0.5 * tokens.mean(dim=1), 2 * styled], dim=1)
    torch.testing.assert_close(told[0], wanted)


def test_a_silenced_net_hears_nothing_until_it_is_trained() -> None:
    unet = build_adaptive()
    call = {"sample": draw(1, 4, FRAMES, 8, 8), "timestep": 500, "style": draw(1, 128, seed=1)}

    def hear(seed: int) -> torch.Tensor:
        predicted: torch.Tensor = unet(
            **call, encoder_hidden_states=draw(FRAMES, 5, 32, seed=seed)
        ).sample
        return predicted

    assert (hear(2) - hear(3)).abs().max() > 1e-3
    unet.silence_audio()
    torch.testing.assert_close(hear(2), hear(3))
    hear(2).square().mean().backward()
    assert unet.condition_embedding is not None
    heard = unet.condition_embedding.linear_1.weight.grad
    assert heard is not None
    assert heard[:, :32].abs().max() > 0


OPTIONS: dict[str, dict[str, Any]] = {
    "self": {"reference_attention": "self"},
    "clip norms": {"clip_group_norm": True},
    "context": {"reference_attention": "self", "num_context_frames": 2},
    "regions": {"regional_audio_dim": 24},
    "motion norms": {"motion_norm_num_groups": 4},
}


def build_with(option: str) -> TemporalUNet:
    unet = TemporalUNet(
        **SIZES,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        num_attention_heads=2,
        motion_num_attention_heads=2,
        style_dim=16,
        **OPTIONS[option],
    )
    initialise(unet, seeded())
    return unet.eval()


def inputs_with(option: str, reference: ReferenceUNet) -> dict[str, Any]:
    given = inputs(reference, batch=1)
    if option == "context":
        features = reference(draw(2, 4, 8, 8, seed=5))
        given["context_features"] = {name: each[None] for name, each in features.items()}
    if option == "regions":
        masks = [draw(1, 3, size, size, seed=6).sigmoid() for size in (8, 4)]
        given["regional_audio"] = RegionalAudio(draw(FRAMES, 6, 24, seed=7), masks)
    return given


def hand_over_self_attention(**options: Any) -> ReferenceUNet:
    reference = ReferenceUNet(
        **SIZES,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        feature="self_attention",
        **options,
    )
    initialise(reference, seeded())
    return reference.eval()


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_published_nets_are_saved(option: str, tmp_path: Path) -> None:
    unet = build_with(option)
    with torch.no_grad():
        given = inputs_with(option, hand_over_self_attention())
        expected = unet(**given).sample
        unet.save_pretrained(tmp_path)
        loaded = TemporalUNet.from_pretrained(tmp_path).eval()
        assert torch.equal(loaded(**given).sample, expected)


def test_reference_features_beside_the_self_attention_may_be_left_out() -> None:
    unet = build_with("self")
    assert not any("reference" in name for name, _ in unet.named_parameters())
    with torch.no_grad():
        given = inputs_with("self", hand_over_self_attention())
        without = unet(**{**given, "reference_features": None}).sample
        assert (unet(**given).sample - without).abs().mean() > 1e-3
        a_frame = {
            name: feature.repeat_interleave(FRAMES, dim=0)
            for name, feature in given["reference_features"].items()
        }
        repeated = unet(**{**given, "reference_features": a_frame}).sample
        assert (unet(**given).sample - repeated).abs().max() < ROUNDING
        with pytest.raises(ValueError, match="no scale"):
            unet(**given, reference_attention_scale=0.5)


def test_norms_over_the_clip_let_frames_see_each_other() -> None:
    unet = build_with("clip norms")
    unet.enable_motion_modules(False)
    with torch.no_grad():
        given = inputs_with("clip norms", hand_over_self_attention())
        changed = given["sample"].clone()
        changed[:, :, -1] += 1
        first = unet(**given).sample[:, :, 0]
        assert (unet(**{**given, "sample": changed}).sample[:, :, 0] - first).abs().max() > 1e-3


def test_earlier_frames_reach_the_clip_through_the_motion_modules() -> None:
    unet = build_with("context")
    with torch.no_grad():
        given = inputs_with("context", hand_over_self_attention())
        expected = unet(**given).sample
        assert expected.shape == given["sample"].shape
        other = {name: -feature for name, feature in given["context_features"].items()}
        assert (unet(**{**given, "context_features": other}).sample - expected).abs().mean() > 1e-3
        with pytest.raises(ValueError, match="context_features"):
            unet(**{**given, "context_features": None})
        unet.enable_motion_modules(False)  # then nothing reads them
        without = unet(**given).sample
        assert torch.equal(unet(**{**given, "context_features": other}).sample, without)


def test_each_region_hears_the_audio_where_its_mask_is() -> None:
    unet = build_with("regions")
    with torch.no_grad():
        given = inputs_with("regions", hand_over_self_attention())
        audio = given["regional_audio"]
        expected = unet(**given).sample
        for region in range(3):
            scales = [0.0 if each == region else 1.0 for each in range(3)]
            changed = unet(**{**given, "regional_audio": audio._replace(scales=scales)}).sample
            assert (changed - expected).abs().mean() > 1e-4, region
        nowhere = audio._replace(masks=[torch.zeros_like(each) for each in audio.masks])
        unmasked = unet(**{**given, "regional_audio": nowhere}).sample
        deaf = nowhere._replace(tokens=audio.tokens + 1)
        assert torch.equal(unet(**{**given, "regional_audio": deaf}).sample, unmasked)
        with pytest.raises(ValueError, match="regional_audio"):
            unet(**{**given, "regional_audio": None})


def test_a_picture_a_frame_stands_beside_the_noisy_latents() -> None:
    unet = TemporalUNet(
        **SIZES,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        num_attention_heads=2,
        motion_num_attention_heads=2,
        reference_channels=9,
    )
    initialise(unet, seeded())
    call = {
        "sample": draw(2, 4, FRAMES, 8, 8),
        "timestep": 5,
        "encoder_hidden_states": draw(2 * FRAMES, 5, 32),
    }
    portrait = draw(1, 9, 8, 8, seed=1)
    pictures = portrait[:, :, None].expand(2, 9, FRAMES, 8, 8).clone()
    with torch.no_grad():
        shared = unet(**call, reference_latents=portrait).sample
        assert torch.equal(unet(**call, reference_latents=pictures).sample, shared)
        pictures[:, :, 1] += 1
        assert (unet(**call, reference_latents=pictures).sample - shared).abs().mean() > 1e-3


def test_a_reference_net_without_text_attention(tmp_path: Path) -> None:
    reference = hand_over_self_attention(text_attention=False)
    blocks = [name for name in reference.state_dict() if ".transformer_blocks." in name]
    assert not any("attn2" in name or "norm2" in name for name in blocks)
    latents = draw(1, 4, 8, 8)
    reference.save_pretrained(tmp_path)
    loaded = ReferenceUNet.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        for name, feature in reference(latents).items():
            # Weights that lie elsewhere in memory may give other last bits.
            torch.testing.assert_close(loaded(latents)[name], feature, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="no feature"):
        ReferenceUNet(text_attention=False)


def test_a_reference_net_reads_the_tokens_that_it_is_given() -> None:
    reference = hand_over_self_attention()
    latents = draw(1, 4, 8, 8)
    with torch.no_grad():
        prompted = reference(latents, draw(1, 3, 32))
        assert any(
            (prompted[name] - feature).abs().max() > 1e-3
            for name, feature in reference(latents).items()
        )
