import numpy as np
import pytest
from PIL import Image

from svp_diffusers.errors import MediaError
from svp_diffusers.media.image import read_image


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)


def test_an_rgb_picture_comes_back_unchanged(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_an_opaque_alpha_channel_is_dropped_losslessly(tmp_path, pixels):
    alpha = np.full((80, 100, 1), 255, dtype=np.uint8)
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA"])
def test_grey_and_palette_pictures_are_read(tmp_path, pixels, mode):
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").mode == "RGB"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_the_exif_orientation_is_applied(tmp_path, pixels, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.size == (80, 100)
    expected = np.rot90(pixels, -1).astype(float)
    assert np.corrcoef(np.asarray(image).ravel(), expected.ravel())[0, 1] > 0.5


def test_real_portraits_are_read(real_data):
    for path in sorted((real_data / "portraits").iterdir()):
        image = read_image(path)
        assert image.mode == "RGB"
        assert min(image.size) >= 256


def test_a_telephone_photograph_with_by_products_is_one_picture(tmp_path, pixels):
    inverse = Image.fromarray(255 - pixels)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[inverse])
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.is_animated
    image = read_image(tmp_path / "a.jpg")
    # JPEG blurs the colours of noise; the inverse would be negative.
    assert np.corrcoef(np.asarray(image).ravel(), pixels.ravel())[0, 1] > 0.5


def test_files_that_are_no_portrait(tmp_path, pixels):
    picture = Image.fromarray(pixels)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture\n" * 40)
    picture.save(tmp_path / "whole.png")
    picture.save(tmp_path / "whole.jpg")
    for name in ("whole.png", "whole.jpg"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(data[: len(data) // 2])
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.png")
    Image.new("RGB", (63, 200)).save(tmp_path / "narrow.png")
    half = np.full((80, 100, 1), 255, dtype=np.uint8)
    half[:10] = 128
    Image.fromarray(np.concatenate([pixels, half], axis=2)).save(tmp_path / "glass.png")
    picture.convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(tmp_path / "deep.png")
    inverse = Image.fromarray(255 - pixels)
    for name in ("moving.gif", "moving.webp", "moving.png"):
        picture.save(tmp_path / name, save_all=True, append_images=[inverse])
    for name, message in [
        ("missing.png", "does not exist"),
        (".", "is a folder"),
        ("empty.png", "is empty"),
        ("text.png", "is not an image"),
        ("cut_whole.png", "cut short"),
        ("cut_whole.jpg", "cut short"),
        ("pixel.png", "at least 64"),
        ("narrow.png", "at least 64"),
        ("glass.png", "transparent"),
        ("print.jpg", "CMYK"),
        ("deep.png", "8 bits"),
        ("moving.gif", "animated"),
        ("moving.webp", "animated"),
        ("moving.png", "animated"),
    ]:
        with pytest.raises(MediaError, match=message):
            read_image(tmp_path / name)


def test_a_decompression_bomb_is_refused(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for limit in (5000, 1000):  # Pillow warns above its limit and raises above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(MediaError, match="too large"):
            read_image(tmp_path / "a.png")
