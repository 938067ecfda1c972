import numpy as np
import pytest
from PIL import Image

from dinotxt.errors import ConfigError, DataError
from dinotxt.results.figures import (
    cluster_figure,
    cluster_picture,
    comparison,
    pca_picture,
    side_by_side,
)
from dinotxt.results.segmentation import Segmentation


def _decode(_: object) -> Image.Image:
    return Image.new("RGB", (200, 150))


def _segmentation(clusters: np.ndarray | None = None, label: int = 0) -> Segmentation:
    label_map = np.full((150, 200), label, dtype=np.uint8)
    label_map[:, 100:] = 1
    labels = ("road", "tree", "sky")
    return Segmentation("a.jpg", label_map, labels, _decode, clusters=clusters)


def test_components_show_what_is_alike() -> None:
    features = np.zeros((4, 6, 8), dtype=np.float32)
    features[:, 3:, 2] = 1
    picture = np.asarray(pca_picture(features))
    assert picture.shape == (4, 6, 3)
    assert (picture[:, :3] == picture[0, 0]).all()
    assert (picture[:, 3:] == picture[0, 5]).all()
    assert picture[0, 5, 0] == 255
    assert picture[0, 0, 0] == 0
    assert pca_picture(features, (60, 40)).size == (60, 40)


def test_components_equal_those_of_a_singular_value_decomposition() -> None:
    features = np.random.default_rng(0).normal(size=(9, 7, 5)) * [5, 3, 2, 0.1, 0.1]
    cells = features.reshape(-1, 5) - features.reshape(-1, 5).mean(axis=0)
    _, _, rows = np.linalg.svd(cells, full_matrices=False)
    picture = np.asarray(pca_picture(features)).reshape(-1, 3)
    for channel in range(3):
        projected = cells @ rows[channel]
        inner = (picture[:, channel] > 0) & (picture[:, channel] < 255)
        assert abs(np.corrcoef(projected[inner], picture[inner, channel])[0, 1]) > 0.999


def test_equal_features_and_fewer_than_three_channels_give_a_picture() -> None:
    assert np.asarray(pca_picture(np.ones((2, 2, 4)))).std() == 0
    assert pca_picture(np.random.default_rng(0).normal(size=(3, 3, 2))).size == (3, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    features = np.zeros((2, 2, 3))
    features[0, 0, 0] = bad
    with pytest.raises(DataError, match="NaN or infinite"):
        pca_picture(features)
    with pytest.raises(DataError, match=r"\[h, w, D\]"):
        pca_picture(np.zeros((0, 2, 3)))


def test_each_cluster_has_its_colour() -> None:
    picture = np.asarray(cluster_picture(np.array([[7, 7], [3, 30]]), (4, 4)))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3
    assert (picture[0, 0] == picture[0, 3]).all()


def test_panels_stand_beside_each_other_under_their_titles() -> None:
    panels = [("one", Image.new("RGB", (40, 30))), ("two", Image.new("RGB", (20, 60), "red"))]
    figure = side_by_side(panels)
    assert figure.width == 40 + 12 + 10
    assert figure.height > 30
    assert figure.getpixel((57, figure.height - 2)) == (255, 0, 0)
    large = side_by_side([("one", Image.new("RGB", (4096, 2048)))])
    assert large.width == 1024


def test_a_cluster_figure_shows_picture_clusters_and_labels() -> None:
    clusters = np.zeros((3, 4), dtype=np.int32)
    figure = cluster_figure(_segmentation(clusters))
    assert figure.width == 3 * 200 + 2 * 12
    assert figure.height > 170
    with pytest.raises(ConfigError, match="HighRes"):
        cluster_figure(_segmentation())


def test_two_models_are_compared_under_one_legend() -> None:
    results = [("first", _segmentation()), ("second", _segmentation(label=2))]
    figure = comparison(results)
    assert figure.width == 3 * 200 + 2 * 12
    other = Segmentation("a.jpg", np.zeros((150, 200), np.uint8), ("x",), _decode)
    with pytest.raises(DataError, match="same labels"):
        comparison([*results, ("third", other)])
