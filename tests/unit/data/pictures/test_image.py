import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dinotxt.data.pictures.image import (
    Limits,
    open_image,
    open_undecoded,
    source_name,
)
from dinotxt.errors import DataError

MakeImage = Callable[..., bytes]


def _save(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has next to no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_allowed_format_opens_as_rgb(make_image: MakeImage, kind: str) -> None:
    image = open_image(make_image(kind=kind))
    assert (image.mode, image.size) == ("RGB", (12, 8))


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA"])
def test_other_formats_are_refused(make_image: MakeImage, kind: str) -> None:
    with pytest.raises(DataError, match="not a picture in one of the formats"):
        open_image(make_image(16, 16, kind=kind))


@pytest.mark.parametrize("content", [b"hello, no image", b"\0" * 100, b"BM", b"\xff\xd8\xff"])
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        open_image(content)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.jpg is empty"):
        open_image(tmp_path / "empty.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_picture_is_an_error(make_image: MakeImage, kind: str, share: float) -> None:
    content = make_image(64, 64, kind=kind)
    with pytest.raises(DataError):
        open_image(content[: int(len(content) * share)])


def test_bomb_is_refused_by_its_header_before_decoding() -> None:
    with pytest.raises(DataError, match="announces 60000x60000 pixels"):
        open_image(_png_header(60000, 60000))


def test_pixel_limit_is_ours_and_not_pillows(
    monkeypatch: pytest.MonkeyPatch, make_image: MakeImage
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert open_image(make_image(20, 20)).size == (20, 20)
    with pytest.raises(DataError, match="more than 399"):
        open_image(make_image(20, 20), limits=Limits(max_pixels=399))


def test_byte_limit_is_checked_before_reading(tmp_path: Path, make_image: MakeImage) -> None:
    path = tmp_path / "big.jpg"
    path.write_bytes(make_image())
    for source in (path, path.read_bytes()):
        with pytest.raises(DataError, match=r"more than 10: raise Limits\.max_bytes"):
            open_image(source, limits=Limits(max_bytes=10))


def test_missing_file_folder_and_impossible_path_are_refused(tmp_path: Path) -> None:
    for source, message in (
        (tmp_path / "none.jpg", "does not exist"),
        (tmp_path, "is not a file"),
        ("a\0b.jpg", "does not exist|cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            open_image(source)


@pytest.mark.parametrize("thing", [None, 3, ["a.jpg"], {}])
def test_what_is_no_kind_of_source_is_refused_with_what_is(thing: Any) -> None:
    with pytest.raises(DataError, match=rf"<{type(thing).__name__}> is not a picture: give a path"):
        open_image(thing)


def test_web_address_is_never_fetched() -> None:
    with pytest.raises(DataError, match="web address, which is not fetched"):
        open_image("https://example.com/a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_one_pixel_picture_opens(make_image: MakeImage, kind: str) -> None:
    assert open_image(make_image(1, 1, kind=kind)).size == (1, 1)


def test_grey_becomes_three_equal_channels() -> None:
    pixels = np.asarray(open_image(_save(Image.new("L", (4, 4), 77), "PNG")))
    assert (pixels == 77).all()
    assert pixels.shape == (4, 4, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = np.asarray(open_image(_save(Image.fromarray(values), kind)))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_wide_integers_and_floats_need_a_mapping() -> None:
    wide = Image.fromarray(np.array([[0, 1_000_000]], dtype=np.int32))
    narrow = Image.fromarray(np.array([[0, 65535]], dtype=np.int32))
    floats = Image.fromarray(np.array([[0.5]], dtype=np.float32))
    for image in (wide, floats):
        with pytest.raises(DataError, match="state a channel mapping"):
            open_image(_save(image, "TIFF"))
    assert np.asarray(open_image(_save(narrow, "TIFF")))[0, 1].tolist() == [255, 255, 255]


def test_alpha_is_laid_over_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(open_image(_save(image, "PNG")))[0].tolist() == [[255, 0, 0], [255] * 3]
    half = open_image(_save(Image.new("LA", (1, 1), (0, 128)), "PNG"))
    assert half.getpixel((0, 0)) == (127, 127, 127)


def test_palette_with_transparency_is_laid_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 0, 0, 0])
    image.putpixel((1, 0), 1)
    content = _save(image, "PNG", transparency=b"\xff\x00")
    assert np.asarray(open_image(content))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_colour_key_transparency_is_laid_over_white() -> None:
    content = _save(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert open_image(content).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "1"])
def test_other_colour_modes_become_rgb(make_image: MakeImage, mode: str) -> None:
    kind = "PNG" if mode == "1" else "JPEG"
    assert open_image(make_image(mode=mode, kind=kind)).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    from PIL import ImageOps

    image = Image.new("RGB", (16, 8), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _save(image, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    opened = open_image(content)
    assert opened.tobytes() == expected.convert("RGB").tobytes()
    assert open_image(opened).tobytes() == opened.tobytes()  # upright is upright


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_counts_as_none(make_image: MakeImage) -> None:
    content = make_image(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert open_image(content).size == (12, 8)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = _save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_image(content).getpixel((0, 0)) == (255, 0, 0)


def test_arrays_of_uint8_become_pictures() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    colour = np.stack([grey] * 3, axis=2)
    np.testing.assert_array_equal(np.asarray(open_image(grey)), colour)
    np.testing.assert_array_equal(np.asarray(open_image(colour[:, ::-1])), colour[:, ::-1])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), bool),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError):
        open_image(array)


def test_pillow_image_is_taken_and_a_lazy_broken_one_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    assert open_image(Image.new("L", (3, 2), 5)).getpixel((0, 0)) == (5, 5, 5)
    path = tmp_path / "cut.jpg"
    content = make_image(64, 64)
    path.write_bytes(content[: len(content) - 200])
    with Image.open(path) as lazy, pytest.raises(DataError, match=r"cut\.jpg is damaged"):
        open_image(lazy)


def test_draft_decodes_a_jpeg_smaller_but_not_below_the_size(make_image: MakeImage) -> None:
    content = make_image(640, 480)
    assert open_image(content, draft_size=100).size == (160, 120)
    assert open_image(content, draft_size=2000).size == (640, 480)
    assert open_image(make_image(64, 48, kind="PNG"), draft_size=10).size == (64, 48)


def test_undecoded_picture_keeps_its_mode(make_image: MakeImage) -> None:
    assert open_undecoded(make_image(mode="L", kind="PNG")).mode == "L"


def test_sources_have_names() -> None:
    assert source_name(np.zeros((2, 3), np.uint8)) == "<array uint8 [2, 3]>"
    assert source_name(Image.new("L", (1, 1))) == "<L image>"


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 2000),
)
def test_any_damage_is_a_data_error_or_a_picture(
    make_image: MakeImage, kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(make_image(kind=kind))
    for place, value in changes:
        content[place % len(content)] = value
    with contextlib.suppress(DataError):
        image = open_image(bytes(content[: len(content) - cut % 40]))
        assert image.mode == "RGB"
