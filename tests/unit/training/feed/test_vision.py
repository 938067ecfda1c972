from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinotxt.data.features.store import FeatureStore, StoreSpec
from dinotxt.data.features.writer import FeatureStoreWriter
from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.data.pictures.view import RandomView, ViewConfig
from dinotxt.data.readers.record import ImageRef, Pair
from dinotxt.errors import ConfigError
from dinotxt.models.config import VisionHeadConfig
from dinotxt.models.vision.tokens import Tokens
from dinotxt.models.vision.vision_head import VisionHead
from dinotxt.training.feed.vision import CachedTokens, Pictures, as_pooled, pooled_kind

ALL = np.arange(3)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    made = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        made.append(Pair(str(number), ImageRef(str(path)), ("a",)))
    return made


@pytest.fixture
def transform() -> Transform:
    return Transform(TransformConfig(size=16))


def store(folder: Path, pairs: list[Pair], *, tokens: str, views: int) -> FeatureStore:
    """A cache whose values name the picture, the view and the token."""
    kind = "pooled" if tokens == "pooled" else "all"
    spec = StoreSpec(
        tokens=kind,  # type: ignore[arg-type]
        width=2,
        num_registers=1,
        grid=(1, 2),
        views=views,
        weights_hash="w",
        transform_hash="t",
    )
    writer = FeatureStoreWriter(folder, spec, pairs)
    item, view, token, _ = np.indices(spec.shard_shape(len(pairs)))
    (shard,) = writer.pending()
    values = (100 * item + 10 * view + token).astype(np.float16)
    writer.write(shard, values, kept=range(len(pairs)), skipped=[])
    return writer.finish()


def test_plain_pictures_do_not_change_with_the_epoch_and_views_do(
    pairs: list[Pair], transform: Transform
) -> None:
    plain = Pictures(pairs, transform)
    assert torch.equal(plain.read(ALL, 0)[0], plain.read(ALL, 1)[0])
    views = Pictures(pairs, transform, view=RandomView(ViewConfig(), transform), seed=4)
    first, again, other = (views.read(ALL, epoch)[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    alone = views.read(ALL[2:], 1)[0]
    assert torch.equal(alone[0], other[2])


def test_a_broken_picture_is_left_out_with_its_reason(
    pairs: list[Pair], transform: Transform
) -> None:
    Path(pairs[1].image.path).write_bytes(b"nothing")
    images, read, skipped = Pictures(pairs, transform).read(ALL, 0)
    assert (len(images), read.tolist()) == (2, [0, 2])
    assert skipped[0].path == pairs[1].image.path
    images, read, skipped = Pictures(pairs, transform).read(ALL[1:2], 0)
    assert (tuple(images.shape), len(read), len(skipped)) == ((0, 3, 16, 16), 0, 1)


def test_cached_tokens_come_by_row_and_draw_a_view_each_epoch(
    pairs: list[Pair], tmp_path: Path
) -> None:
    made = store(tmp_path / "c", pairs, tokens="all", views=3)
    source = CachedTokens(made, [2, 0], kind=None, seed=1)
    drawn = set()
    for epoch in range(12):
        tokens, _, skipped = source.read(np.array([0, 1]), epoch)
        assert skipped == ()
        assert (tokens.cls[:, 0] // 100).tolist() == [2.0, 0.0]
        view = tokens.cls[:, 0] % 100 // 10
        assert torch.equal(tokens.registers[:, 0, 0], tokens.cls[:, 0] + 1)
        assert torch.equal(tokens.patches[:, 1, 0], tokens.cls[:, 0] + 3)
        assert tokens.grid == (1, 2)
        drawn.add(tuple(view.tolist()))
    assert len(drawn) > 3


def test_pooled_tokens_give_what_the_pooling_takes(pairs: list[Pair], tmp_path: Path) -> None:
    made = store(tmp_path / "c", pairs, tokens="pooled", views=1)
    for pooling, offset in (("cls_avg", 1), ("max", 2)):
        head = VisionHeadConfig(num_blocks=0, pooling=pooling)  # type: ignore[arg-type]
        source = CachedTokens(made, [0, 1, 2], kind=pooled_kind(head))
        tokens, _, _ = source.read(np.array([1]), 0)
        assert tokens.patches.tolist() == [[[100.0 + offset] * 2]]
    with pytest.raises(ConfigError, match="pooled tokens"):
        CachedTokens(made, [0], kind=None)


@pytest.mark.parametrize("pooling", ["cls", "avg", "max", "cls_max", "cls_avg"])
@pytest.mark.parametrize("dim", [None, 6])
@pytest.mark.parametrize("norm", ["none", "standard", "layer"])
def test_pooling_first_changes_nothing_where_it_is_allowed(
    pooling: str, dim: int | None, norm: str
) -> None:
    config = VisionHeadConfig(num_blocks=0, pooling=pooling, dim=dim, input_norm=norm)  # type: ignore[arg-type]
    head = VisionHead(config, 4)
    tokens = Tokens(torch.randn(3, 4), torch.randn(3, 2, 4), torch.randn(3, 10, 4), (2, 5))
    kind = pooled_kind(config)
    maximum = pooling.endswith("max") and dim is not None
    assert (kind is None) == (maximum or (norm == "layer" and pooling != "cls"))
    expected = head.pool(head(tokens))
    torch.testing.assert_close(head.pool(head(as_pooled(tokens, kind))), expected)
