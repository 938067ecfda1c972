import io

import numpy as np
import pytest
from PIL import Image

from dinotxt.data.pictures.image import open_image
from dinotxt.results.palette import palette
from dinotxt.results.segmentation import Segmentation
from dinotxt.serving.pictures import hex_colours, label_map_png, run_lengths


def _segmentation(num_labels: int, dtype: type[np.uint8] | type[np.uint16]) -> Segmentation:
    values = np.random.default_rng(0).integers(0, num_labels, size=(7, 5))
    values[0, :2] = np.iinfo(dtype).max
    label_map = values.astype(np.uint8) if dtype is np.uint8 else values.astype(np.uint16)
    labels = tuple(f"label {i}" for i in range(num_labels))
    return Segmentation("picture", label_map, labels, open_image)


@pytest.mark.parametrize(("num_labels", "dtype"), [(3, np.uint8), (300, np.uint16)])
def test_the_png_holds_the_label_map(
    num_labels: int, dtype: type[np.uint8] | type[np.uint16]
) -> None:
    segmentation = _segmentation(num_labels, dtype)
    with Image.open(io.BytesIO(label_map_png(segmentation))) as picture:
        assert np.array_equal(np.asarray(picture), segmentation.label_map)


def test_the_run_lengths_give_the_masks_back() -> None:
    segmentation = _segmentation(3, np.uint8)
    runs = list(run_lengths(segmentation))
    assert len(runs) == 3
    for position, counts in enumerate(runs):
        values = np.repeat(np.arange(len(counts)) % 2, counts)
        mask = values.reshape(segmentation.label_map.shape, order="F") == 1
        assert np.array_equal(mask, segmentation.label_map == position)


def test_a_label_that_is_nowhere_is_one_run_outside() -> None:
    absent = Segmentation("picture", np.zeros((2, 3), np.uint8), ("a", "b"), open_image)
    assert list(run_lengths(absent)) == [[0, 6], [6]]


def test_the_colours_are_those_of_the_palette() -> None:
    red, green, blue = (int(value) for value in palette(1)[0])
    assert hex_colours(1) == [f"#{red:02x}{green:02x}{blue:02x}"]
