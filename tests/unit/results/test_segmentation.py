from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinotxt.errors import ConfigError, DataError
from dinotxt.results.segmentation import Segmentation, map_dtype


def _decode(source: Image.Image) -> Image.Image:
    return source.convert("RGB")


def _segmentation(scores: np.ndarray | None = None) -> Segmentation:
    label_map = np.array([[0, 0, 1, 255], [0, 0, 1, 255]], dtype=np.uint8)
    return Segmentation("a.jpg", label_map, ("road", "tree", "sky"), _decode, scores)


def test_areas_are_fractions_of_the_picture() -> None:
    result = _segmentation()
    assert result.areas == {"road": 0.5, "tree": 0.25, "sky": 0.0}
    assert result.area("tree") == 0.25


def test_unknown_label_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="road, tree, sky"):
        _segmentation().area("car")


def test_mask_is_hard_without_scores_and_resized_with_them() -> None:
    assert _segmentation().mask("tree").tolist() == [[0, 0, 1, 0], [0, 0, 1, 0]]
    scores = np.zeros((3, 1, 2), dtype=np.float32)
    scores[1, 0] = [0.25, 0.75]
    soft = _segmentation(scores).mask("tree")
    assert soft.shape == (2, 4)
    assert soft[0].tolist() == pytest.approx([0.25, 0.375, 0.625, 0.75])


def test_overlay_without_legend_has_the_size_of_the_picture() -> None:
    picture = Image.new("RGB", (4, 2))
    assert _segmentation().overlay(picture, legend=False).size == (4, 2)
    assert _segmentation().overlay(picture).height > 2


def test_overlay_refuses_another_picture_and_a_wrong_opacity() -> None:
    with pytest.raises(DataError, match="5x2"):
        _segmentation().overlay(Image.new("RGB", (5, 2)))
    with pytest.raises(ConfigError, match="opacity"):
        _segmentation().overlay(Image.new("RGB", (4, 2)), opacity=2)


def test_saved_label_map_reads_back_as_the_positions(tmp_path: Path) -> None:
    result = _segmentation()
    result.save_label_map(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as saved:
        assert saved.mode == "P"
        assert np.array_equal(np.asarray(saved), result.label_map)


def test_many_labels_make_a_16_bit_label_map(tmp_path: Path) -> None:
    label_map = np.array([[0, 299, 65535]], dtype=np.uint16)
    labels = tuple(f"label {i}" for i in range(300))
    result = Segmentation("a.jpg", label_map, labels, _decode)
    result.save_label_map(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as saved:
        assert np.asarray(saved).tolist() == [[0, 299, 65535]]
    assert result.unlabelled == 65535
    assert result.overlay(Image.new("RGB", (3, 1)), legend=False).size == (3, 1)


def test_label_map_type_follows_the_number_of_labels() -> None:
    assert map_dtype(255) is np.uint8
    assert map_dtype(256) is np.uint16
    with pytest.raises(ConfigError, match="65535"):
        map_dtype(65536)


def test_a_data_sets_palette_colours_the_overlay_and_the_file(tmp_path: Path) -> None:
    result = _segmentation().with_palette("cityscapes")
    colours = np.asarray(result.colour_map())
    assert colours[0, 0].tolist() == [128, 64, 128]
    assert colours[0, 3].tolist() == [128, 128, 128]
    assert result.entries()[0].colour == (128, 64, 128)
    result.save_label_map(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as saved:
        assert np.asarray(saved.convert("RGB"))[0, 2].tolist() == [244, 35, 232]
    assert result.colour_map(legend=True).height > 2
    with pytest.raises(ConfigError, match="palette"):
        _segmentation().with_palette("nothing")


def test_values_outside_the_labels_are_refused() -> None:
    label_map = np.array([[0, 3, 255]], dtype=np.uint8)
    with pytest.raises(DataError, match=r"a\.jpg: the label map holds 3.*0 to 2, or 255"):
        Segmentation("a.jpg", label_map, ("road", "tree", "sky"), _decode)


def test_unlabelled_pixels_are_black_where_a_palette_has_their_grey() -> None:
    colours = np.asarray(_segmentation().with_palette("camvid").colour_map())
    assert colours[0, 0].tolist() == [128, 128, 128]
    assert colours[0, 3].tolist() == [0, 0, 0]
