import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.data.pictures.view import RandomView, ViewConfig
from dinotxt.data.readers.record import ImageRef, Pair
from dinotxt.errors import ConfigError, DataError
from dinotxt.inference.caching import FeatureCacher, Kind, Views
from dinotxt.models.config import BackboneConfig, ModelConfig
from dinotxt.models.vision.backbone import Backbone
from dinotxt.results.skip import Skip

TRANSFORM = Transform(TransformConfig(size=32, resize="squash"))


@pytest.fixture(scope="module")
def backbone(tiny_config: ModelConfig) -> Backbone:
    return Backbone.from_config(tiny_config.backbone)


@pytest.fixture
def pairs(pictures: dict[str, Path]) -> list[Pair]:
    return [Pair(name, ImageRef(str(path)), (f"a {name} wall",)) for name, path in pictures.items()]


@pytest.mark.parametrize("tokens", ["all", "pooled"])
def test_cached_tokens_equal_the_backbones(
    backbone: Backbone, pairs: list[Pair], tmp_path: Path, tokens: Kind
) -> None:
    cacher = FeatureCacher(backbone, TRANSFORM, pairs, tmp_path / "cache", tokens=tokens)
    store = cacher.run(batch_size=3)
    pixels = np.stack([TRANSFORM.load(pair.image) for pair in pairs])
    with torch.inference_mode():
        expected = backbone(torch.from_numpy(pixels))
    got = store.tokens([2, 0])
    np.testing.assert_allclose(got["cls"], expected.cls[[2, 0]], rtol=2e-3, atol=2e-3)
    if tokens == "all":
        np.testing.assert_allclose(got["patches"], expected.patches[[2, 0]], rtol=2e-3, atol=2e-3)
    else:
        mean = expected.patches.mean(1)[[2, 0]]
        largest = expected.patches.amax(1)[[2, 0]]
        np.testing.assert_allclose(got["avg"], mean, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(got["max"], largest, rtol=2e-3, atol=2e-3)
    assert store.captions[0] == ("a red wall",)


def test_views_differ_and_are_the_same_every_time(
    backbone: Backbone, tmp_path: Path, pictures: dict[str, Path]
) -> None:
    pairs = [Pair("half", ImageRef(str(pictures["half"])), ("a",))]
    draw = RandomView(ViewConfig(scale=(0.2, 0.5)), TRANSFORM)
    stores = [
        FeatureCacher(backbone, TRANSFORM, pairs, tmp_path / name, views=Views(draw, 3)).run()
        for name in ("one", "two")
    ]
    first = [stores[0].tokens([0], view)["cls"] for view in range(3)]
    again = [stores[1].tokens([0], view)["cls"] for view in range(3)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_bad_pictures_are_left_out_and_reported(
    backbone: Backbone, pairs: list[Pair], tmp_path: Path
) -> None:
    broken = [pairs[0], Pair("lost", ImageRef("lost.png"), ("a",)), pairs[1]]
    skipped: list[Skip] = []
    store = FeatureCacher(backbone, TRANSFORM, broken, tmp_path / "cache").run(
        on_skip=skipped.append
    )
    assert store.keys == ("red", "green")
    assert [skip.path for skip in skipped] == ["lost.png"]
    assert store.skipped == tuple(skipped)
    with pytest.raises(DataError, match=r"lost\.png"):
        FeatureCacher(backbone, TRANSFORM, broken, tmp_path / "strict").run()


def test_a_killed_run_goes_on_behind_the_last_whole_shard(
    backbone: Backbone, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinotxt.data.features.writer._MAX_SHARD_VIEWS", 1)
    whole = FeatureCacher(backbone, TRANSFORM, pairs, tmp_path / "whole").run()
    lost = tmp_path / "lost.png"
    torn = [*pairs[:2], Pair("blue", ImageRef(str(lost)), pairs[2].captions), *pairs[3:]]
    with pytest.raises(DataError, match="lost"):
        FeatureCacher(backbone, TRANSFORM, torn, tmp_path / "cache").run()
    shutil.copy(pairs[2].image.path, lost)
    seen: list[tuple[int, int]] = []
    cacher = FeatureCacher(backbone, TRANSFORM, torn, tmp_path / "cache")
    assert cacher.num_done == 2
    store = cacher.run(progress=lambda *report: seen.append(report))
    assert seen[:2] == [(2, 4), (3, 4)]
    assert seen[-1] == (4, 4)
    np.testing.assert_array_equal(store.tokens(range(4))["avg"], whole.tokens(range(4))["avg"])


def test_other_weights_transforms_and_views_are_refused(
    backbone: Backbone, tiny_config: ModelConfig, pairs: list[Pair], tmp_path: Path
) -> None:
    path = tmp_path / "cache"
    FeatureCacher(backbone, TRANSFORM, pairs, path).run()
    other = Transform(TransformConfig(size=32, resize="squash", mean=(0.5, 0.5, 0.5)))
    with pytest.raises(DataError, match=rf"transform {TRANSFORM.fingerprint}.*{other.fingerprint}"):
        FeatureCacher(backbone, other, pairs, path)
    options = {**tiny_config.backbone.options, "depth": 1}
    config = BackboneConfig(name=tiny_config.backbone.name, weights="random", options=options)
    with pytest.raises(DataError, match=f"weights {backbone.weights_hash}"):
        FeatureCacher(Backbone.from_config(config), TRANSFORM, pairs, path)
    views = Views(RandomView(ViewConfig(), TRANSFORM))
    with pytest.raises(DataError, match="view None"):
        FeatureCacher(backbone, TRANSFORM, pairs, path, views=views)


def test_a_disk_that_is_too_small_is_told_before_the_start(
    backbone: Backbone, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("dinotxt.inference.caching.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="10 free"):
        FeatureCacher(backbone, TRANSFORM, pairs, tmp_path / "cache")


def test_a_trained_backbone_and_no_views_are_refused(
    tiny_config: ModelConfig, pairs: list[Pair], tmp_path: Path
) -> None:
    options = tiny_config.backbone.options
    config = BackboneConfig(
        name=tiny_config.backbone.name, weights="random", frozen=False, options=options
    )
    with pytest.raises(ConfigError, match="frozen"):
        FeatureCacher(Backbone.from_config(config), TRANSFORM, pairs, tmp_path)
    with pytest.raises(ConfigError, match="at least one"):
        Views(RandomView(ViewConfig(), TRANSFORM), 0)


def test_pictures_of_one_patch_are_refused(
    backbone: Backbone, pairs: list[Pair], tmp_path: Path
) -> None:
    small = Transform(TransformConfig(size=backbone.patch_size, resize="squash"))
    with pytest.raises(ConfigError, match="less than two of the model's patches"):
        FeatureCacher(backbone, small, pairs, tmp_path / "cache")
