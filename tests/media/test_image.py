import numpy as np
import pytest
from PIL import Image, ImageCms

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


@pytest.mark.parametrize("hidden", [0, 255])
def test_what_is_transparent_is_white_whatever_lies_under_it(tmp_path, pixels, hidden):
    pixels[:10] = hidden
    alpha = np.full((80, 100, 1), 255, dtype=np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "a.png")
    image = np.asarray(read_image(tmp_path / "a.png"))
    assert (image[:10] == 255).all()
    np.testing.assert_array_equal(image[10:], pixels[10:])


def test_sixteen_bits_are_scaled_to_eight(tmp_path, pixels):
    grey = pixels[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    image = np.asarray(read_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


def test_the_colours_of_print_become_those_of_a_screen(tmp_path):
    smooth = np.zeros((80, 100, 3), np.uint8)
    smooth[:40], smooth[40:] = (200, 60, 60), (60, 60, 200)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = np.asarray(read_image(tmp_path / "a.jpg")).astype(int)
    assert np.abs(image[10:30] - smooth[10:30]).mean() < 8
    assert np.abs(image[50:70] - smooth[50:70]).mean() < 8


def test_the_colour_profile_is_applied_and_a_damaged_one_ignored(tmp_path, pixels):
    picture = Image.fromarray(pixels)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "a.png", icc_profile=srgb)
    assert np.abs(np.asarray(read_image(tmp_path / "a.png")).astype(int) - pixels).max() <= 1
    picture.save(tmp_path / "b.png", icc_profile=b"not a profile")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "b.png")), pixels)


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
