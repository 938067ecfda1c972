import io
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures.channels import ChannelMapping, read_array
from dinotxt.data.pictures.image import Limits
from dinotxt.errors import ConfigError, DataError


def test_mapping_picks_scales_and_clips() -> None:
    array = np.array([[[0, 1000, 4000], [500, 2000, 65535]]], dtype=np.uint16)
    mapped = ChannelMapping(channels=(2, 0), low=0, high=4000).apply(array)
    assert mapped.dtype == np.float32
    assert mapped.tolist() == [[[1.0, 1.0]], [[0.0, 0.125]]]


def test_mapping_takes_all_channels_and_turns_nan_to_black() -> None:
    array = np.array([[[np.nan, 0.5]]], dtype=np.float32)
    assert ChannelMapping(low=0, high=1).apply(array).ravel().tolist() == [0, 0.5]


def test_mapping_of_a_channel_that_is_missing_is_refused() -> None:
    with pytest.raises(DataError, match=r"channels \(3,\) of a picture with 3"):
        ChannelMapping(channels=(3,)).apply(np.zeros((1, 1, 3), np.uint8))


def test_empty_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be above low"):
        ChannelMapping(low=5, high=5)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 7)])
def test_npy_keeps_channels_and_bits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    np.save(tmp_path / "a.npy", array)
    read = read_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array.reshape(4, 5, -1))
    np.testing.assert_array_equal(read_array(array), read)


def test_sixteen_bit_grey_picture_keeps_its_values(tmp_path: Path) -> None:
    values = np.array([[0, 300, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_array(tmp_path / "a.png")[:, :, 0], values)


def test_palette_and_bit_pictures_become_colours() -> None:
    palette = Image.new("P", (1, 1))
    palette.putpalette([9, 8, 7])
    assert read_array(palette).ravel().tolist() == [9, 8, 7]
    assert read_array(Image.new("1", (1, 1), 1)).ravel().tolist() == [255]


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a usable \.npy"):
        read_array(tmp_path / "evil.npy")


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2), complex), np.zeros((0, 2, 1)), np.zeros((1, 2, 2, 2))]
)
def test_arrays_of_another_kind_are_refused(array: NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match=r"give numbers \[H, W, C\]"):
        read_array(array)


def test_array_beyond_the_pixel_limit_is_refused() -> None:
    with pytest.raises(DataError, match="more than 3 pixels"):
        read_array(np.zeros((2, 2)), limits=Limits(max_pixels=3))


def test_broken_picture_is_refused() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (1, 2, 3)).save(stream, "PNG")
    with pytest.raises(DataError, match="damaged"):
        read_array(stream.getvalue()[:60] + struct.pack(">I", 7))
