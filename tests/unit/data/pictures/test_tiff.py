import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dinotxt.data.pictures.channels import read_array
from dinotxt.data.pictures.image import Limits
from dinotxt.errors import DataError

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
    content = _tiff(_tags(array, compression=5), [array.tobytes()], (273, 279))
    with pytest.raises(DataError, match=r"uncompressed or deflated .* or as \.npy"):
        read_array(content)


def test_announced_size_is_checked() -> None:
    array = _noise((4, 4, 5), "<u2")
    content = _tiff(_tags(array), [array.tobytes()], (273, 279))
    with pytest.raises(DataError, match="larger than 15 pixels"):
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
