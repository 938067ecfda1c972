import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.data.pictures.view import RandomView, ViewConfig
from dinotxt.errors import ConfigError

TRANSFORM = Transform(TransformConfig(size=16))


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
    index=st.integers(0, 2**40),
)
def test_part_lies_inside_the_picture(
    width: int, height: int, seed: int, epoch: int, index: int
) -> None:
    view = RandomView(ViewConfig(), TRANSFORM)
    (left, top, right, bottom), _ = view.draw(width, height, seed=seed, epoch=epoch, index=index)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_view_is_a_function_of_seed_epoch_and_index() -> None:
    view = RandomView(ViewConfig(), TRANSFORM)
    first = view.draw(200, 100, seed=0, epoch=1, index=2)
    assert view.draw(200, 100, seed=0, epoch=1, index=2) == first
    others = [
        view.draw(200, 100, seed=s, epoch=e, index=i)
        for s, e, i in ((1, 1, 2), (0, 2, 2), (0, 1, 3))
    ]
    assert all(other != first for other in others)


def test_areas_ratios_and_flips_follow_the_config() -> None:
    config = ViewConfig(scale=(0.25, 0.5), ratio=(0.5, 2.0))
    view = RandomView(config, TRANSFORM)
    draws = [view.draw(1000, 1000, seed=0, epoch=0, index=index) for index in range(400)]
    sides = np.array([(right - left, bottom - top) for (left, top, right, bottom), _ in draws])
    areas, ratios = sides.prod(1) / 1e6, sides[:, 0] / sides[:, 1]
    assert 0.249 < areas.min() < 0.27
    assert 0.48 < areas.max() < 0.501
    assert 0.49 < ratios.min() < 0.6
    assert 1.7 < ratios.max() < 2.01
    assert 0.4 < np.mean([flip for _, flip in draws]) < 0.6


def test_a_share_of_the_views_is_whole() -> None:
    view = RandomView(ViewConfig(scale=(0.25, 0.5), whole=0.3), TRANSFORM)
    boxes = [view.draw(90, 60, seed=0, epoch=0, index=index)[0] for index in range(500)]
    assert 0.24 < boxes.count((0, 0, 90, 60)) / 500 < 0.36


def test_without_flip_nothing_is_mirrored() -> None:
    view = RandomView(ViewConfig(flip=False), TRANSFORM)
    assert not any(view.draw(9, 9, seed=0, epoch=0, index=i)[1] for i in range(30))


def test_whole_picture_may_be_the_view_and_mirrored() -> None:
    view = RandomView(ViewConfig(scale=(1, 1), ratio=(1, 1)), TRANSFORM)
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    array = np.asarray(image).transpose(2, 0, 1).astype(np.float32)
    seen = set()
    for index in range(12):
        _, mirrored = view.draw(16, 16, seed=0, epoch=0, index=index)
        step = -1 if mirrored else 1
        seen.add(mirrored)
        picture = view(image, seed=0, epoch=0, index=index)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(image)[:, ::step])
        channels = view(array, seed=0, epoch=0, index=index)
        np.testing.assert_allclose(np.asarray(channels), array[:, :, ::step])
        assert TRANSFORM.normalize(channels).shape == (3, 16, 16)
    assert seen == {False, True}


def test_strip_falls_back_to_its_centre() -> None:
    view = RandomView(ViewConfig(), TRANSFORM)
    box, _ = view.draw(1000, 3, seed=0, epoch=0, index=0)
    assert box == (498, 0, 502, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"scale\.0: .*greater than 0"),
        ({"scale": (0.5, 1.5)}, r"scale\.1: .*less than or equal to 1"),
        ({"scale": (0.9, 0.5)}, "must rise"),
        ({"ratio": (2.0, 1.0)}, "must rise"),
    ],
)
def test_empty_ranges_are_refused(fields: dict[str, tuple[float, float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ViewConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("whole", [-0.1, 1.5])
def test_a_share_beyond_0_to_1_is_refused(whole: float) -> None:
    with pytest.raises(ConfigError, match="whole: "):
        ViewConfig(whole=whole)
