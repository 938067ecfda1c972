import numpy as np
import pytest
from PIL import Image

from dinotxt.results.overlay import Entry, add_legend, blend


def test_tint_is_the_mean_of_picture_and_colour_away_from_edges() -> None:
    picture = np.full((20, 20, 3), 100, dtype=np.uint8)
    label_map = np.zeros((20, 20), dtype=np.uint8)
    label_map[:, 10:] = 1
    colours = np.array([[200, 0, 0], [0, 200, 0]], dtype=np.uint8)
    out = blend(picture, label_map, colours, 0.5)
    assert out[5, 2].tolist() == [150, 50, 50]
    assert out[5, 17].tolist() == [50, 150, 50]
    assert out[5, 9].tolist() == [195, 5, 5]


def test_zero_opacity_keeps_the_inside_of_regions() -> None:
    picture = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    colours = np.zeros((1, 3), dtype=np.uint8)
    out = blend(picture, np.zeros((10, 10), dtype=np.uint8), colours, 0.0)
    assert np.array_equal(out, picture)


def test_tiles_of_rows_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (50, 30, 3), dtype=np.uint8)
    label_map = rng.integers(0, 4, (50, 30), dtype=np.uint8)
    colours = rng.integers(0, 256, (4, 3), dtype=np.uint8)
    whole = blend(picture, label_map, colours, 0.4)
    monkeypatch.setattr("dinotxt.results.overlay._TILE_PIXELS", 30 * 7)
    assert np.array_equal(whole, blend(picture, label_map, colours, 0.4))


def test_legend_stands_under_the_picture_and_shows_the_colours() -> None:
    picture = Image.new("RGB", (300, 100))
    entries = [Entry("tree", (10, 200, 30), 0.6), Entry("x" * 200, (200, 0, 0), 0.0004)]
    out = add_legend(picture, entries)
    assert out.width >= 300
    assert out.height > 100
    strip = np.asarray(out)[100:].reshape(-1, 3).tolist()
    assert [10, 200, 30] in strip
    assert [200, 0, 0] in strip


def test_legend_of_a_tiny_picture_is_wide_enough_to_read() -> None:
    out = add_legend(Image.new("RGB", (8, 8)), [Entry("red panda", (1, 2, 3), 1.0)])
    assert out.width > 100


def test_long_legends_are_summed_up() -> None:
    short = [Entry(f"label {i}", (0, 0, 0), 0.01) for i in range(24)]
    long = [Entry(f"label {i}", (0, 0, 0), 0.01) for i in range(90)]
    picture = Image.new("RGB", (200, 50))
    assert add_legend(picture, long).height == add_legend(picture, short).height


def test_fewer_letters_across_are_larger() -> None:
    picture, entries = Image.new("RGB", (960, 8)), [Entry("cat", (1, 2, 3), 1.0)]
    small, large = (add_legend(picture, entries, letters=number) for number in (48, 24))
    assert large.height - 8 == pytest.approx(2 * (small.height - 8), abs=4)
