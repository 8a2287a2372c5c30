"""The net that reads expressions from pictures or latents."""

from pathlib import Path

import pytest
import torch

from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder


@pytest.mark.parametrize(("channels", "size"), [(3, 128), (3, 96), (4, 16)])
def test_it_reads_pictures_and_latents_of_any_size(channels: int, size: int) -> None:
    encoder = ExpressionEncoder(channels, ("jawOpen", "mouthPucker"), block_out_channels=(8, 16))
    assert encoder(torch.rand(3, channels, size, size)).shape == (3, 2)


def test_pictures_are_read_one_by_one() -> None:
    encoder = ExpressionEncoder(3, ("jawOpen",), block_out_channels=(8, 16))
    pictures = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        alone = torch.cat([encoder(picture[None]) for picture in pictures])
        # One picture and three add up in another order.
        torch.testing.assert_close(encoder(pictures), alone, atol=1e-5, rtol=1e-4)


def test_it_comes_back_from_a_folder_as_it_was(tmp_path: Path) -> None:
    encoder = ExpressionEncoder(4, ("jawOpen", "browInnerUp"), block_out_channels=(8, 16))
    encoder.save_pretrained(tmp_path)
    loaded = ExpressionEncoder.from_pretrained(tmp_path)
    assert list(loaded.config.coefficient_names) == ["jawOpen", "browInnerUp"]
    assert loaded.config.expression_space == "arkit52"
    latents = torch.rand(2, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(latents), encoder.eval()(latents))


def test_a_picture_is_read_beside_its_own_reference(tmp_path: Path) -> None:
    alone = ExpressionEncoder(4, ("jawOpen",), block_out_channels=(8, 16))
    encoder = ExpressionEncoder(4, ("jawOpen",), block_out_channels=(8, 16), with_reference=True)
    encoder.save_pretrained(tmp_path)
    encoder = ExpressionEncoder.from_pretrained(tmp_path).eval()
    latents, references = torch.rand(2, 3, 4, 16, 16)
    with torch.no_grad():
        read = encoder(latents, references)
        for row in range(3):
            alone_read = encoder(latents[row : row + 1], references[row : row + 1])
            torch.testing.assert_close(read[row : row + 1], alone_read, atol=1e-5, rtol=1e-4)
        assert ((encoder(latents, references.flip(0)) - read)[[0, 2]].abs() > 1e-4).all()
        # Where nothing differs, only the reference is seen.
        assert not torch.equal(encoder(latents, latents), encoder(references, references))
    for wrong, given, message in (
        (encoder, [latents], "needs a reference"),
        (alone, [latents, references], "takes no reference"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong(*given)


def test_its_gradient_reaches_the_latents() -> None:
    """The sync loss trains a denoiser through it."""
    encoder = ExpressionEncoder(4, ("jawOpen",), block_out_channels=(8, 16)).requires_grad_(False)
    latents = torch.rand(1, 4, 16, 16, requires_grad=True)
    encoder(latents).sum().backward()
    assert latents.grad is not None
    assert bool((latents.grad != 0).any())
