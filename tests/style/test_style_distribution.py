"""Styles live in a geometry that users can rely on: blending, sampling, comparing, keeping."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from svp_diffusers.errors import MediaError, StyleError
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.style.storage import load_style

DIM = 6
MEANS = st.lists(st.floats(-5, 5), min_size=DIM, max_size=DIM)
STDS = st.lists(st.floats(0.05, 5), min_size=DIM, max_size=DIM)
# Double precision: the properties hold to rounding, here 1e-12 of values up to 10.
STYLES = st.builds(
    lambda mean, std: StyleDistribution(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    ),
    MEANS,
    STDS,
)
WEIGHTS = st.floats(0, 1)


@given(STYLES, STYLES)
def test_interpolation_ends_at_its_ends(a: StyleDistribution, b: StyleDistribution) -> None:
    for weight, end in ((0.0, a), (1.0, b)):
        between = a.interpolate(b, weight)
        assert torch.equal(between.mean, end.mean)
        assert torch.equal(between.std, end.std)


@given(STYLES, STYLES, WEIGHTS)
def test_distance_to_the_ends_is_linear_in_the_weight(
    a: StyleDistribution, b: StyleDistribution, weight: float
) -> None:
    between = a.interpolate(b, weight)
    whole = float(a.wasserstein(b))
    assert float(between.wasserstein(a)) == pytest.approx(weight * whole, abs=1e-9)
    assert float(between.wasserstein(b)) == pytest.approx((1 - weight) * whole, abs=1e-9)


@given(STYLES, st.floats(0.01, 100))
def test_a_mix_of_one_style_is_that_style(a: StyleDistribution, weight: float) -> None:
    mixed = StyleDistribution.mix([a], [weight])
    assert torch.equal(mixed.mean, a.mean)
    assert torch.equal(mixed.std, a.std)


@given(STYLES, STYLES, WEIGHTS)
def test_a_mix_of_two_is_the_interpolation(
    a: StyleDistribution, b: StyleDistribution, weight: float
) -> None:
    mixed = StyleDistribution.mix([a, b], [1 - weight, weight])
    torch.testing.assert_close(mixed.mean, a.interpolate(b, weight).mean)
    torch.testing.assert_close(mixed.std, a.interpolate(b, weight).std)


@given(STYLES, STYLES)
def test_intensity_is_the_distance_from_neutral(
    a: StyleDistribution, neutral: StyleDistribution
) -> None:
    torch.testing.assert_close(a.scale(1.0, neutral).mean, a.mean)
    assert torch.equal(a.scale(0.0, neutral).mean, neutral.mean)
    torch.testing.assert_close(a.scale(2.0, neutral).mean - a.mean, a.mean - neutral.mean)
    assert torch.equal(a.scale(2.0, neutral).std, a.std)


@given(STYLES, STYLES)
def test_densities_agree_with_torch(a: StyleDistribution, b: StyleDistribution) -> None:
    normals = [Normal(style.mean, style.std) for style in (a, b)]
    expected = sum(kl_divergence(*normals))
    torch.testing.assert_close(a.kl(b), torch.as_tensor(expected))
    torch.testing.assert_close(a.log_prob(b.mean), normals[0].log_prob(b.mean).sum())
    torch.testing.assert_close(a.log_prob(b.mean), Independent(normals[0], 1).log_prob(b.mean))


@given(STYLES, STYLES, STYLES)
def test_wasserstein_is_a_metric(
    a: StyleDistribution, b: StyleDistribution, c: StyleDistribution
) -> None:
    assert float(a.wasserstein(a)) == 0
    assert float(a.wasserstein(b)) == pytest.approx(float(b.wasserstein(a)))
    assert float(a.wasserstein(c)) <= float(a.wasserstein(b) + b.wasserstein(c)) + 1e-9


@given(STYLES, st.integers(0, 2**31))
def test_the_same_generator_gives_the_same_samples(a: StyleDistribution, seed: int) -> None:
    draws = [a.sample(3, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
    assert torch.equal(*draws)
    assert draws[0].shape == (3, DIM)
    assert torch.equal(a.sample(3, temperature=0.0), a.mean.expand(3, DIM))


def test_samples_follow_the_distribution() -> None:
    style = StyleDistribution(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0]))
    drawn = style.sample(20000, temperature=0.5, generator=torch.Generator().manual_seed(0))
    # 4 standard errors of 20000 draws.
    torch.testing.assert_close(drawn.mean(0), style.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), 0.5 * style.std, atol=0.02, rtol=0)


def test_a_style_file_keeps_everything(tmp_path: Path) -> None:
    style = StyleDistribution(torch.randn(8), torch.rand(8), "froh", "Clip 1.mat", "abc")
    style.save(tmp_path / "froh.style.safetensors")
    loaded = load_style(tmp_path / "froh.style.safetensors")
    assert torch.equal(loaded.mean, style.mean)
    assert torch.equal(loaded.std, style.std)
    assert (loaded.name, loaded.source, loaded.encoder_id) == ("froh", "Clip 1.mat", "abc")
    assert [file.name for file in tmp_path.iterdir()] == ["froh.style.safetensors"]


def test_files_without_a_usable_style_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        load_style(tmp_path / "none.style.safetensors")
    (tmp_path / "text.style.safetensors").write_text("hello")
    with pytest.raises(StyleError, match="not a style file"):
        load_style(tmp_path / "text.style.safetensors")
    bad = StyleDistribution(torch.tensor([float("nan")]), torch.ones(1))
    bad.save(tmp_path / "nan.style.safetensors")
    with pytest.raises(StyleError, match="not finite"):
        load_style(tmp_path / "nan.style.safetensors")


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda a: a.interpolate(a, 1.5), "from 0 to 1"),
        (lambda a: a.sample(temperature=-1), "from 0 to 100"),
        (lambda a: StyleDistribution.mix([a, a], [1.0]), "one weight per style"),
        (lambda a: StyleDistribution.mix([a, a], [1.0, -1.0]), "from 0"),
        (lambda a: StyleDistribution(a.mean, a.std[:1]), "one shape"),
        (lambda a: a.kl(StyleDistribution(torch.zeros(3), torch.ones(3))), "different spaces"),
    ],
)
def test_impossible_operations_are_refused(operation, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        operation(StyleDistribution(torch.zeros(2), torch.ones(2)))


def test_a_style_of_the_hub_is_one_file_of_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = StyleDistribution(torch.zeros(DIM), torch.ones(DIM), name="mine")
    style.save(tmp_path / "style.safetensors")

    def download(repo_id: str, filename: str, **options: object) -> str:
        assert repo_id == "anna/mine"
        return str(tmp_path / filename)

    monkeypatch.setattr("svp_diffusers.models.style_encoder_svp.hf_hub_download", download)
    assert StyleDistribution.from_pretrained("anna/mine").name == "mine"
