"""Generated head motion: reproducible, of any length and frame rate, from the portrait's pose."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from svp_diffusers.checkpoints.loading import SVP_TINY
from svp_diffusers.models.head_motion_svp import HeadMotionModel, evaluate_spline

START = torch.tensor([0.1, -0.05, 0.02, 0.01, 0.0, 1.02])


@pytest.fixture(scope="module")
def model() -> HeadMotionModel:
    """Untrained: it moves wildly, but by its inputs alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HeadMotionModel(8, 4, 16, 1, 2, window=16, context=4, lookahead=4)
        nn.init.normal_(model.pose_out.weight, std=0.3)
    return model.eval()


def generate(model: HeadMotionModel, frames: int, seed: int = 0, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(400, 8, generator=generator)
    style = options.pop("style", torch.randn(4, generator=generator))
    noise = torch.Generator().manual_seed(seed)
    return model.generate(embeddings, style, START, frames, generator=noise, **options)


def test_the_generator_decides(model: HeadMotionModel) -> None:
    assert torch.equal(generate(model, 60), generate(model, 60))
    assert (generate(model, 60) - generate(model, 60, seed=1)).abs().max() > 0.01


@pytest.mark.parametrize("frames", [1, 2, 7, 61, 500])
def test_it_has_the_frames_asked_for_and_begins_with_the_start(
    model: HeadMotionModel, frames: int
) -> None:
    poses = generate(model, frames)
    assert poses.shape == (frames, 6)
    assert poses.isfinite().all()
    torch.testing.assert_close(poses[0], START, atol=1e-6, rtol=0)


def test_voice_and_style_move_the_head(model: HeadMotionModel) -> None:
    poses = generate(model, 60)
    assert not torch.allclose(generate(model, 60, style=torch.ones(4)), poses)
    silence = model.generate(
        torch.zeros(400, 8), torch.zeros(4), START, 60, generator=torch.Generator().manual_seed(0)
    )
    assert not torch.allclose(silence, generate(model, 60, style=torch.zeros(4)))


def test_amplitude_scales_the_motion_and_0_is_still(model: HeadMotionModel) -> None:
    still = generate(model, 90, amplitude=0)
    assert torch.equal(still, START.expand(90, 6))
    once, twice = generate(model, 90), generate(model, 90, amplitude=2)
    torch.testing.assert_close(twice - START, 2 * (once - START), atol=1e-5, rtol=0)


def test_it_is_the_same_motion_at_every_frame_rate(model: HeadMotionModel) -> None:
    at_25 = generate(model, 100)
    torch.testing.assert_close(generate(model, 200, fps=50)[::2], at_25, atol=1e-5, rtol=0)
    torch.testing.assert_close(generate(model, 20, fps=5), at_25[::5], atol=1e-5, rtol=0)
    odd = generate(model, 120, fps=29.97)  # a curve: between its neighbours at 25 frames a second
    assert (odd[60] - at_25[50]).abs().max() < (at_25[51] - at_25[49]).abs().max() + 1e-3


def test_a_longer_film_begins_as_the_shorter_one(model: HeadMotionModel) -> None:
    torch.testing.assert_close(generate(model, 300)[:100], generate(model, 100), atol=0, rtol=0)


def test_memory_does_not_grow_with_the_length(model: HeadMotionModel) -> None:
    """What the network sees at once is one window, however long the film."""
    shapes: list[torch.Size] = []
    hook = model.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    generate(model, 100, num_inference_steps=2)
    short = len(shapes)
    generate(model, 2000, num_inference_steps=2)
    hook.remove()
    assert set(shapes) == {torch.Size((1, 16, 6))}
    assert 15 * short < len(shapes) < 25 * short


def test_a_style_may_change_over_time(model: HeadMotionModel) -> None:
    first, second = torch.zeros(4), torch.ones(4)
    constant = generate(model, 200, style=first)
    torch.testing.assert_close(generate(model, 200, style=first.expand(200, 4)), constant)
    styles = torch.stack([first] * 100 + [second] * 100)
    changing = generate(model, 200, style=styles)
    torch.testing.assert_close(changing[:60], constant[:60])
    assert (changing[120:] - constant[120:]).abs().max() > 0.01


def test_a_window_goes_on_from_the_one_before() -> None:
    """Whatever a window makes of what is known, the curve goes through it, and does not jump."""

    class Constant(HeadMotionModel):
        """Every window is a head held still, somewhere else."""

        def _denoise(self, *inputs: Any) -> Tensor:
            self.held = getattr(self, "held", 0) + 1
            return torch.full((16, 6), float(self.held))

    model = Constant(8, 4, 16, 1, 2, window=16, context=4, lookahead=4, motion_std=(1.0,) * 6)
    poses = generate(model, 200)
    # It has 0.4 seconds to get from where it was to where the next window holds it.
    assert poses.diff(dim=0).abs().max() < 0.25
    assert poses[-1, 0] > 3


def test_it_is_saved_in_half_precision_and_loaded_in_any(
    model: HeadMotionModel, tmp_path: Path
) -> None:
    copy.deepcopy(model).half().save_pretrained(tmp_path)
    single = HeadMotionModel.from_pretrained(tmp_path, dtype=torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(generate(single, 60), generate(model, 60), atol=0.02, rtol=0)
    loaded = HeadMotionModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert generate(loaded, 60).dtype == torch.float32


def test_the_curve_is_a_cubic_b_spline() -> None:
    from scipy.interpolate import BSpline

    knots = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.linspace(0, 5.99, 50, dtype=torch.float64)
    expected = BSpline(torch.arange(-3, 10).numpy(), knots.numpy(), 3)(times.numpy())
    torch.testing.assert_close(evaluate_spline(knots, times), torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"fps": 0.0}, "fps"),
        ({"amplitude": -1.0}, "amplitude"),
        ({"start_pose": torch.zeros(3)}, "start_pose"),
        ({"style": torch.zeros(5)}, "style"),
        ({"style": torch.zeros(9, 4)}, "style"),
        ({"embeddings": torch.zeros(0, 8)}, "embeddings"),
        ({"embeddings": torch.zeros(10, 7)}, "embeddings"),
    ],
)
def test_wrong_inputs_are_named(
    model: HeadMotionModel, options: dict[str, Any], message: str
) -> None:
    good = {
        "embeddings": torch.zeros(100, 8),
        "style": torch.zeros(4),
        "start_pose": START,
        "num_frames": 10,
    }
    with pytest.raises(ValueError, match=message):
        model.generate(**{**good, **options})


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="divide"):
        HeadMotionModel(8, 4, embeddings_per_knot=7)
    with pytest.raises(ValueError, match="context"):
        HeadMotionModel(8, 4, window=16, context=10, lookahead=4)


@pytest.fixture(scope="module")
def svp_tinys() -> HeadMotionModel:
    folder = SVP_TINY / "head_motion"
    return HeadMotionModel.from_pretrained(folder, dtype=torch.float32).eval()


def test_trained_motion_does_not_show_where_windows_meet(svp_tinys: HeadMotionModel) -> None:
    frames = 1500
    config = svp_tinys.config
    poses = svp_tinys.generate(
        torch.zeros(2 * frames, config.audio_dim),
        torch.zeros(config.style_dim),
        torch.tensor(config.start_mean),
        frames,
        generator=torch.Generator().manual_seed(0),
        num_inference_steps=10,
    )
    kept = config.window - config.lookahead  # knots of the first window; knot 1 is frame 0
    joins = (torch.arange(kept, 590, kept - config.context) - 1) * 2.5
    for order, most in ((1, 1.1), (2, 1.3)):  # steps, and changes of steps
        changes = poses.diff(dim=0, n=order) / torch.tensor(config.motion_std)
        near = (torch.arange(len(changes))[:, None] - joins).abs().amin(1) <= 5
        at_joins, inside = (changes[rows].square().mean().sqrt() for rows in (near, ~near))
        assert at_joins < most * inside
