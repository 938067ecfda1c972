import contextlib
import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dinotxt.data.pictures.channels import read_array
from dinotxt.data.pictures.image import Limits, open_image
from dinotxt.errors import BackendError, DataError

Tags = dict[int, list[int]]


def _tiff(tags: Tags, chunks: list[bytes], places: tuple[int, int], order: str = "<") -> bytes:
    """Write a TIFF of 32-bit tags; ``places`` are the tags of the offsets and of the sizes."""
    tags = {**tags, places[0]: [0] * len(chunks), places[1]: [len(chunk) for chunk in chunks]}
    end = 8 + 2 + 12 * len(tags) + 4
    lists = {tag: values for tag, values in tags.items() if len(values) > 1}
    start = end + sum(4 * len(values) for values in lists.values())
    offsets = [start + sum(map(len, chunks[:n])) for n in range(len(chunks))]
    tags[places[0]] = offsets
    entries, tail = b"", b""
    for tag, values in sorted(tags.items()):
        value = values[0] if len(values) == 1 else end + len(tail)
        entries += struct.pack(order + "HHLL", tag, 4, len(values), value)
        tail += struct.pack(f"{order}{len(values)}L", *values) if len(values) > 1 else b""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "LH", 8, len(tags)) + entries + bytes(4)
    return head + tail + b"".join(chunks)


def _tags(array: NDArray[np.generic], kind: int = 1, **more: int) -> Tags:
    height, width, samples = array.shape
    bits = [array.dtype.itemsize * 8] * samples
    names = {"compression": 259, "rows": 278, "planar": 284, "predictor": 317}
    names |= {"tile_width": 322, "tile_height": 323}
    tags = {256: [width], 257: [height], 258: bits, 277: [samples], 339: [kind] * samples}
    return tags | {names[name]: [value] for name, value in more.items()}


def _noise(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    return (np.random.default_rng(0).random(shape) * 60000).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
def test_strips_of_sixteen_bits_and_five_channels(order: str) -> None:
    array = _noise((7, 6, 5), f"{order}u2")
    content = _tiff(
        _tags(array, rows=3), [array[y : y + 3].tobytes() for y in (0, 3, 6)], (273, 279), order
    )
    np.testing.assert_array_equal(read_array(content), array)


def test_deflated_tiles_of_floats() -> None:
    array = _noise((20, 40, 2), "<f4")
    padded = np.zeros((32, 48, 2), "<f4")
    padded[:20, :40] = array
    tiles = [padded[y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16, 32)]
    content = _tiff(
        _tags(array, 3, compression=8, tile_width=16, tile_height=16),
        [zlib.compress(tile.tobytes()) for tile in tiles],
        (324, 325),
    )
    np.testing.assert_array_equal(read_array(content), array)


def test_separate_planes() -> None:
    array = _noise((4, 3, 6), "<i2")
    planes = [array[:, :, plane].tobytes() for plane in range(6)]
    content = _tiff(_tags(array, 2, planar=2), planes, (273, 279))
    np.testing.assert_array_equal(read_array(content), array)


def test_horizontal_predictor() -> None:
    array = _noise((4, 9, 3), "<u2")
    differences = np.diff(array, axis=1, prepend=array[:, :1] * 0)
    content = _tiff(
        _tags(array, compression=8, predictor=2),
        [zlib.compress(differences.astype("<u2").tobytes())],
        (273, 279),
    )
    np.testing.assert_array_equal(read_array(content), array)


def test_unknown_coding_names_the_way_out() -> None:
    array = _noise((2, 2, 5), "<u2")
    content = _tiff(_tags(array, compression=34712), [array.tobytes()], (273, 279))
    with pytest.raises(DataError, match=r"save it uncompressed, as LZW, .* or as \.npy"):
        read_array(content)


def _written(array: NDArray[np.generic], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric="minisblack", **options)
    return stream.getvalue()


@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("coding", ["lzw", "packbits", "zlib", "zstd"])
@pytest.mark.parametrize(("dtype", "bands"), [("uint16", 5), ("float32", 2), ("uint8", 7)])
def test_the_codings_of_geotiff_keep_every_band(
    dtype: str, bands: int, coding: str, predictor: bool
) -> None:
    array = _noise((20, 33, bands), dtype)
    options = {"planarconfig": "contig", "tile": (16, 16), "bigtiff": bands == 7}
    content = _written(array, compression=coding, predictor=predictor, **options)
    np.testing.assert_array_equal(read_array(content), array)


def test_bands_apart_in_a_big_tiff() -> None:
    array = _noise((5, 20, 33), "uint16")
    content = _written(array, planarconfig="separate", compression="lzw", bigtiff=True)
    np.testing.assert_array_equal(read_array(content), array.transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint32", "float32", "int16"])
def test_one_band_of_any_number_keeps_its_values(dtype: str) -> None:
    array = _noise((9, 8), dtype)
    np.testing.assert_array_equal(read_array(_written(array))[:, :, 0], array)


def test_numbers_above_those_of_a_signed_integer_keep_their_value() -> None:
    array = np.array([[0, 2**31 + 5], [2**32 - 1, 7]], dtype="uint32")
    np.testing.assert_array_equal(read_array(_written(array))[:, :, 0], array)


def test_bands_without_colours_ask_for_a_mapping() -> None:
    content = _written(_noise((4, 4, 5), "uint8"), planarconfig="contig")
    with pytest.raises(DataError, match="has 5 channels: state a channel mapping"):
        open_image(content)


def test_of_several_images_the_first_is_read_and_told() -> None:
    array = _noise((3, 20, 30), "uint16")
    with pytest.warns(UserWarning, match="several images: the first is read"):
        first = read_array(_written(array))
    np.testing.assert_array_equal(first[:, :, 0], array[0])


def test_small_copies_in_a_geotiff_are_no_further_images() -> None:
    array, stream = _noise((32, 32, 5), "uint16"), io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        file.write(array, subifds=0, **options)
        file.write(array[::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(read_array(stream.getvalue()), array)


@pytest.mark.parametrize("missing", ["tifffile", "imagecodecs"])
def test_without_the_extra_many_bands_say_how_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _written(_noise((4, 4, 5), "uint8"), planarconfig="contig")
    grey = _written(_noise((4, 4), "uint16"))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=r'pip install "dinotxt\[tiff\]"'):
        read_array(content)
    assert read_array(grey).shape == (4, 4, 1)


def test_a_strip_that_holds_more_than_it_should_is_refused() -> None:
    array = np.ones((8, 8, 5), "uint8")
    content = _tiff(_tags(array, compression=8), [zlib.compress(bytes(4 * 320))], (273, 279))
    with pytest.raises(DataError, match="damaged"):
        read_array(content)


def test_announced_size_is_checked() -> None:
    array = _noise((4, 4, 5), "<u2")
    content = _tiff(_tags(array), [array.tobytes()], (273, 279))
    with pytest.raises(DataError, match="4x4 pixels, more than 15"):
        read_array(content, limits=Limits(max_pixels=15))


@given(cut=st.integers(0, 400), flip=st.integers(0, 400), value=st.integers(0, 255))
def test_damage_is_a_data_error_or_an_array(cut: int, flip: int, value: int) -> None:
    array = _noise((4, 4, 5), "<u2")
    content = bytearray(
        _tiff(_tags(array, rows=2), [array[:2].tobytes(), array[2:].tobytes()], (273, 279))
    )
    content[flip % len(content)] = value
    damaged = bytes(content[: len(content) - cut % len(content)])
    with contextlib.suppress(DataError):
        assert read_array(damaged, limits=Limits(max_pixels=10_000)).ndim == 3
