import tracemalloc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures.channels import ChannelMapping
from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.errors import ConfigError, DataError
from dinotxt.inference.dense import highres
from dinotxt.inference.dense.highres import HighRes, crops_within
from dinotxt.inference.dense.scores import Query
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.segmenter import Segmenter

LABELS = ["red", "green", "blue"]
_SMALL = HighRes(crops=40, crop_size=32, areas=(0.1, 1.0), shares=(0.9, 0.1))


def _query(encoder: Encoder, batch_size: int = 8) -> Query:
    return Query(encoder, np.eye(3, dtype=np.float32), batch_size=batch_size)


def test_a_thin_stripe_that_the_whole_picture_blurs_gets_its_label(
    colour_encoder: Encoder,
) -> None:
    pixels = np.zeros((96, 96, 3), dtype=np.uint8)
    pixels[..., 0] = 255
    pixels[:, 44:51] = (0, 0, 255)
    truth = np.where(pixels[..., 2] > 0, 2, 0)
    mode = HighRes(crops=400, crop_size=32, areas=(0.01,), shares=(1,), num_clusters=4)
    fine = Segmenter(colour_encoder, LABELS, mode=mode, templates="{}")(pixels).label_map
    coarse = Segmenter(colour_encoder, LABELS, templates="{}")(pixels).label_map
    assert fine.shape == (96, 96)
    assert (fine == truth).mean() > 0.97
    assert (fine == truth).mean() > (coarse == truth).mean()


def test_clusters_get_one_label_each(colour_encoder: Encoder, pictures: dict[str, Path]) -> None:
    segment = Segmenter(colour_encoder, LABELS, mode=_SMALL, templates="{}")
    result = segment(pictures["half"])
    assert (result.label_map[:, :18] == 0).all()
    assert (result.label_map[:, 30:] == 2).all()


def test_without_clusters_each_place_is_compared(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    mode = HighRes(crops=10, crop_size=32, num_clusters=None)
    picture = Image.open(pictures["half"])
    scores = mode.score_map(_query(colour_encoder), picture)
    features = mode.features(_query(colour_encoder), picture)
    assert scores.shape == features.shape[:2] == (20, 24)
    assert scores.num_texts == 3
    length = np.linalg.norm(features[5:9], axis=-1, keepdims=True)
    assert scores.rows(5, 9) == pytest.approx(features[5:9] / length, abs=1e-5)


def test_equal_seeds_give_equal_results(colour_encoder: Encoder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)

    def label_map(seed: int) -> NDArray[Any]:
        mode = HighRes(crops=40, crop_size=16, seed=seed)
        return Segmenter(colour_encoder, LABELS, mode=mode, templates="{}")(noise).label_map

    assert np.array_equal(label_map(1), label_map(1))
    assert not np.array_equal(label_map(1), label_map(2))


def test_how_many_patches_are_held_changes_rounding_alone(
    colour_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    many = _SMALL.features(_query(colour_encoder, 4), noise)
    monkeypatch.setattr("dinotxt.inference.dense.highres._HELD_BYTES", 1)
    few = _SMALL.features(_query(colour_encoder, 4), noise)
    np.testing.assert_allclose(many, few, atol=1e-5)


def test_the_batch_size_changes_rounding_alone(colour_encoder: Encoder) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    one = _SMALL.features(_query(colour_encoder, 1), noise)
    many = _SMALL.features(_query(colour_encoder, 16), noise)
    assert one == pytest.approx(many, abs=1e-5)


def test_crops_stream_in_batches_of_one_size(colour_encoder: Encoder, colour_towers: Any) -> None:
    _SMALL.features(_query(colour_encoder, 16), Image.new("RGB", (80, 50)))
    assert sum(batch[0] for batch in colour_towers.batches) == 40
    assert max(batch[0] for batch in colour_towers.batches) == 16
    assert {batch[1:] for batch in colour_towers.batches} == {(3, 32, 32)}


@pytest.mark.parametrize("normalize", [True, False])
def test_patches_get_length_1_before_the_mean_if_asked(
    colour_encoder: Encoder, normalize: bool
) -> None:
    mode = HighRes(crops=3, crop_size=32, normalize=normalize)
    features = mode.features(_query(colour_encoder), Image.new("RGB", (32, 32), (0, 0, 51)))
    assert features[..., 2] == pytest.approx(1.0 if normalize else 0.2, abs=1e-5)


def test_sizes_that_count_alike_are_nearer_to_the_rare_one(colour_encoder: Encoder) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    settings: dict[str, Any] = {"areas": (0.1, 1.0), "crop_size": 16, "grid_stride": 8}

    def features(balance: bool) -> NDArray[np.float32]:
        mode = HighRes(crops=90, shares=(0.98, 0.02), balance=balance, **settings)
        return mode.features(_query(colour_encoder), picture)

    whole = HighRes(crops=2, **(settings | {"areas": (1.0,), "shares": (1,)}))
    coarse = whole.features(_query(colour_encoder), picture)
    apart = [np.abs(features(balance) - coarse).mean() for balance in (False, True)]
    assert apart[1] < apart[0]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (300, 5)])
def test_tiny_and_long_pictures_are_labelled(
    colour_encoder: Encoder, size: tuple[int, int]
) -> None:
    segment = Segmenter(colour_encoder, LABELS, mode=_SMALL, templates="{}")
    result = segment(Image.new("RGB", size, "red"))
    assert result.label_map.shape == size[::-1]
    assert result.area("red") == 1


def test_pictures_of_five_mapped_channels_are_warped_too(colour_encoder: Encoder) -> None:
    mapping = ChannelMapping(channels=(0, 1, 2), low=0, high=65535)
    config = TransformConfig(size=32, mean=(0, 0, 0), std=(1, 1, 1), mapping=mapping)
    encoder = Encoder(colour_encoder.towers, colour_encoder.tokenizer, Transform(config))
    picture = np.zeros((40, 48, 5), dtype=np.uint16)
    picture[..., 1] = 65535
    assert Segmenter(encoder, LABELS, mode=_SMALL, templates="{}")(picture).area("green") == 1


def test_the_grid_of_a_huge_picture_stays_within_its_bound(
    colour_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(highres, "_MOST_NUMBERS", 3 * 1000)
    features = _SMALL.features(_query(colour_encoder), Image.new("RGB", (1500, 1000)))
    height, width, _ = features.shape
    assert 0.8 * 1000 < height * width < 1.1 * 1000
    assert width / height == pytest.approx(1.5, rel=0.05)


def test_k_means_copies_only_a_sample_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highres, "_MOST_ROWS", 1 << 12)
    grid = np.random.default_rng(0).standard_normal((256, 256, 64), dtype=np.float32)
    highres._cluster(grid[:32, :32], 4, 0)
    tracemalloc.start()
    try:
        highres._cluster(grid, 4, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * grid.nbytes


def test_features_that_are_not_finite_are_an_error(
    colour_encoder: Encoder, colour_towers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((len(pixels), 4, 4, 3), np.nan, dtype=np.float32)

    monkeypatch.setattr(colour_towers, "encode_patches", broken)
    with pytest.raises(DataError, match="finite"):
        _SMALL.features(_query(colour_encoder), Image.new("RGB", (8, 8)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crops": 0}, "crops"),
        ({"seed": -1}, "seed"),
        ({"jitter": 0.25}, "jitter"),
        ({"areas": ()}, "ascending"),
        ({"areas": (1.0, 0.1)}, "ascending"),
        ({"areas": (0.1, 2.0), "shares": (1, 1)}, "0.0001 to 1"),
        ({"shares": (1.0,)}, "weight"),
        ({"num_clusters": 0}, "num_clusters"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HighRes(**settings)


def test_features_cannot_be_upsampled_twice(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    upsample: Literal["features"] = "features"
    segment = Segmenter(colour_encoder, LABELS, mode=_SMALL, templates="{}", upsample=upsample)
    with pytest.raises(ConfigError, match="upsample"):
        segment(pictures["red"])


def test_a_time_becomes_a_number_of_crops_by_the_measured_rate(
    colour_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    mode = crops_within(colour_encoder, 5, _SMALL, batch_size=4)
    assert mode.crops == int(0.9 * 5 * 3 * 4 / 2)
    assert mode.areas == _SMALL.areas
    with pytest.raises(ConfigError, match="positive"):
        crops_within(colour_encoder, 0, _SMALL)
