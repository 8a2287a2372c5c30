"""The VAE on folded pixels is used like any `AutoencoderKL`."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from svp_diffusers.models.autoencoder_svp import SpaceToDepthAutoencoderKL


def build(patch_size: int = 2, sample_size: int = 32) -> SpaceToDepthAutoencoderKL:
    torch.manual_seed(0)
    vae = SpaceToDepthAutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=sample_size,
        patch_size=patch_size,
    )
    return vae.eval()


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_latents_are_smaller_by_the_patch_and_the_blocks(patch_size: int) -> None:
    vae, pixels = build(patch_size), torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        assert latents.shape == (2, 4, 16 // patch_size, 24 // patch_size)
        assert vae.decode(latents).sample.shape == pixels.shape


def test_without_a_patch_it_is_the_plain_autoencoder() -> None:
    vae, pixels = build(patch_size=1), torch.rand(1, 3, 32, 32)
    options = {name: vae.config[name] for name in ("latent_channels", "norm_num_groups")}
    plain = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        mid_block_add_attention=False,
        **options,
    )
    plain.load_state_dict(
        {
            name.replace("encoder.1.", "encoder.").replace("decoder.0.", "decoder."): weight
            for name, weight in vae.state_dict().items()
        }
    )
    with torch.no_grad():
        assert torch.equal(plain.eval()(pixels).sample, vae(pixels).sample)


def test_it_comes_back_from_a_folder_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vae, pixels = build(patch_size=4), torch.rand(1, 3, 32, 32)
    vae.register_to_config(scaling_factor=0.5)
    vae.save_pretrained(tmp_path)
    loaded = SpaceToDepthAutoencoderKL.from_pretrained(tmp_path)
    assert "not expected" not in capfd.readouterr().err, "diffusers does not know all of the config"
    fresh = SpaceToDepthAutoencoderKL.from_config(loaded.config)
    for each in (loaded, fresh):
        assert (each.config.in_channels, each.config.out_channels) == (3, 3)
        assert (each.config.patch_size, each.config.scaling_factor) == (4, 0.5)
        assert each.state_dict().keys() == vae.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(loaded(pixels).sample, vae(pixels).sample)


def test_slices_are_exact() -> None:
    vae, pixels = build(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        whole = vae(pixels).sample
        vae.enable_slicing()
        # Convolutions of one picture and of three add up in another order.
        assert (vae(pixels).sample - whole).abs().max() < 1e-5


def test_tiles_give_a_picture_of_the_right_size() -> None:
    vae = build()
    pixels = torch.zeros(1, 3, 64, 80)
    vae.enable_tiling()
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        assert latents.shape == (1, 4, 16, 20)
        assert vae.decode(latents).sample.shape == pixels.shape
