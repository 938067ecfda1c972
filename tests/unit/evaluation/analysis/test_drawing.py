import numpy as np
from PIL import Image

from dinotxt.evaluation.analysis.drawing import draw_panels
from dinotxt.results.palette import dataset_palette, palette


def test_label_maps_have_the_palette_of_their_data_set_and_legends_in_its_order() -> None:
    picture = Image.new("RGB", (200, 100), "black")
    truth = np.full((100, 200), 3)
    labels = [f"class {number}" for number in range(11)]
    drawn = np.asarray(draw_panels(picture, {"truth": truth}, labels, "camvid"))
    usual = np.asarray(draw_panels(picture, {"truth": truth}, labels, None))
    middle = (60, 206 + 100)  # in the second panel
    assert np.abs(drawn[middle] - 0.6 * dataset_palette("camvid", 11)[3]).max() < 2
    assert np.abs(usual[middle] - 0.6 * palette(11)[3]).max() < 2
    strip = drawn[130:].reshape(-1, 3)
    assert (strip == dataset_palette("camvid", 11)[3]).all(axis=1).sum() > 50
