"""Embeddings: distinct pictures, bad vectors, resuming."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.curation.conftest import picture, write_shard

from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig, ImageConfig
from dinotxt.curation.engine import InProcess
from dinotxt.curation.pictures import embed as embedders
from dinotxt.curation.pictures.cluster import cluster_pictures
from dinotxt.curation.pictures.embed import embed_pictures
from dinotxt.curation.pictures.sample import sample_pictures
from dinotxt.curation.pool.pairs import collect_pairs
from dinotxt.curation.stage import StageReport
from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.errors import DataError

Vectors = NDArray[np.float32]


class MeanColour:
    """An embedder whose vectors are mean colours, changed by a function."""

    fingerprint = "mean colour"
    transform = Transform(TransformConfig(size=8, mean=(0, 0, 0), std=(1, 1, 1)))
    batches = 0

    def __init__(self, change: Callable[[Vectors], Vectors]) -> None:
        self._change = change

    def embed(self, pixels: Vectors) -> Vectors:
        MeanColour.batches += 1
        return self._change(pixels.mean(axis=(2, 3)))


@pytest.fixture
def config(tmp_path: Path) -> CurationConfig:
    records = {f"{n}": (picture(n), ["a dog", "a cat"]) for n in range(6)}
    records["copy"] = (picture(0), ["another dog"])
    write_shard(tmp_path / "a.tar", records)
    content = {"input": str(tmp_path / "a.tar"), "output": tmp_path / "out", "seed": 1}
    image = ImageConfig(levels=(3, 2), resamplings=0, batch_size=2, target=6)
    return load_config(CurationConfig, {**content, "image": image})


def _embed(
    config: CurationConfig,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Vectors], Vectors] = lambda vectors: vectors,
) -> StageReport:
    embedder = MeanColour(change)
    monkeypatch.setattr(embedders, "cached_embedder", lambda _: embedder)
    collect_pairs(config, InProcess())
    return embed_pictures(config, InProcess())


def test_one_row_a_distinct_picture(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = _embed(config, monkeypatch)
    vectors = np.load(config.output / "embed" / "a.npy")
    rows = np.load(config.output / "embed" / "a.rows.npy")
    assert vectors.dtype == np.float16
    assert vectors.shape == (6, 3)
    assert rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0]
    assert (report.n_in, report.n_out, report.details["rows"]) == (7, 7, 6)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "NaN or infinite vector"), (1e6, "NaN or infinite vector"), (0.0, "zero vector")],
)
def test_a_bad_vector_is_dropped_with_its_reason(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch, value: float, reason: str
) -> None:
    def spoil(vectors: Vectors) -> Vectors:
        vectors[0] = value
        return vectors

    report = _embed(config, monkeypatch, spoil)
    assert report.reasons == {reason: 4}  # three batches; the copy shares the first's vector
    rows = np.load(config.output / "embed" / "a.rows.npy")
    assert (rows == -1).sum() == 7
    cluster_pictures(config, InProcess())
    balanced = sample_pictures(config, InProcess())
    assert sum(balanced.reasons.values()) == 7
    keep = np.load(config.output / "sample" / "a.npy")
    assert keep.tolist() == (rows >= 0).astype(float).tolist()


def test_finished_tables_are_not_embedded_again(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _embed(config, monkeypatch)
    (config.output / "embed" / "stage.json").unlink()
    before = MeanColour.batches
    report = _embed(config, monkeypatch)
    assert MeanColour.batches == before
    assert report.details["rows"] == 6


def test_a_pool_without_any_vector_is_an_error(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="zero vector"):
        _embed(config, monkeypatch, lambda vectors: vectors * 0)


def test_pairs_count_in_the_size_of_a_cluster_not_pictures(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _embed(config, monkeypatch)
    cluster_pictures(config, InProcess())
    report = sample_pictures(config, InProcess())
    assert np.load(config.output / "sample" / "sizes.npy").sum() == 13
    assert report.details["expected"] == pytest.approx(6, abs=1e-5)


def test_near_duplicates_are_dropped_from_the_target(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = replace(config.image, near_duplicates=0.5, target=0.5)
    config = replace(config, image=image)
    _embed(config, monkeypatch)
    cluster_pictures(config, InProcess())
    report = sample_pictures(config, InProcess())
    dropped = report.reasons["near-duplicate picture"]
    assert dropped > 0
    assert report.details["expected"] == pytest.approx((13 - dropped) / 2, abs=1e-5)


def test_fewer_pictures_than_clusters_is_an_error(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = replace(config.image, levels=(7, 2))
    config = replace(config, image=image)
    _embed(config, monkeypatch)
    with pytest.raises(DataError, match="6 distinct pictures cannot make 7"):
        cluster_pictures(config, InProcess())


def test_a_picture_that_comes_again_in_another_table_is_embedded_once(
    config: CurationConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_shard(tmp_path / "b.tar", {"x": (picture(3), ["a dog"]), "y": (picture(9), ["a cat"])})
    config = replace(config, input=str(tmp_path / "*.tar"))
    report = _embed(config, monkeypatch)
    assert (report.n_in, report.n_out, report.details["rows"]) == (9, 9, 7)
    assert np.load(config.output / "embed" / "b.npy").shape == (1, 3)
    assert np.load(config.output / "embed" / "b.rows.npy").tolist() == [3, 6]
    cluster_pictures(config, InProcess())
    sample_pictures(config, InProcess())
    first, again = (np.load(config.output / "sample" / f"{name}.npy") for name in "ab")
    assert again[0] == first[6]
    assert np.load(config.output / "sample" / "sizes.npy").sum() == 15
