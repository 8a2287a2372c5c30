import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms

from svp_diffusers.errors import MediaError
from svp_diffusers.media.image import read_image
from svp_diffusers.pipelines.images_svp import open_image


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


def write_png(path, width, height):
    """A grey PNG that is written in no time, whatever its size: a thousandth of its pixels."""
    row = zlib.compressobj(9)
    data = row.compress(bytes(1 + width) * height) + row.flush()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    )
    return path


@pytest.mark.parametrize(("width", "height"), [(8000, 6251), (100_000, 1000), (100_000, 2000)])
def test_a_decompression_bomb_is_refused(tmp_path, width, height):
    with pytest.raises(MediaError, match="too large"):
        read_image(write_png(tmp_path / "a.png", width, height))


def test_a_file_of_more_than_a_photograph_weighs_is_refused(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(MediaError, match="too large: more than 256 MiB"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, open_image])
@pytest.mark.parametrize("kind", ["EPS", "ICNS", "SPIDER", "TGA", "PCX", "SGI", "ICO"])
def test_only_pictures_of_the_kinds_of_photographs_are_opened(tmp_path, pixels, kind, read):
    picture = Image.fromarray(pixels).convert("F" if kind == "SPIDER" else "RGB")
    picture.resize((128, 128)).save(tmp_path / "portrait", kind)
    (tmp_path / "portrait").rename(tmp_path / "portrait.png")  # to Pillow, PNG would be SPIDER now
    with pytest.raises(ValueError, match=r"portrait.png is not an image.*or not one of"):
        read(tmp_path / "portrait.png")


def test_an_eps_starts_no_program(tmp_path, monkeypatch):
    """Ghostscript runs what an EPS says."""
    ran = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: ran.append(1))
    (tmp_path / "portrait.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"
    )
    for read in (read_image, open_image):
        with pytest.raises(ValueError, match="not an image"):
            read(tmp_path / "portrait.png")
    assert not ran


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"])
def test_whatever_a_damaged_picture_does_to_pillow_is_one_error(tmp_path, pixels, kind):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, exif=make_exif())
    whole = np.frombuffer(stream.getvalue(), np.uint8)
    random = np.random.default_rng(0)
    for number in range(60):
        damaged = whole.copy()
        places = random.integers(0, min(len(whole), 2000), 1 + number % 8)
        damaged[places] = random.integers(0, 256, len(places))
        (tmp_path / "a").write_bytes(damaged[: len(damaged) - number * 7 % 400].tobytes())
        with contextlib.suppress(MediaError):
            read_image(tmp_path / "a")


def make_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
