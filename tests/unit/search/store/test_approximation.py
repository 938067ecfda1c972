"""An index whose search is approximate, through updates."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dinotxt.errors import BackendError, DataError
from dinotxt.inference.encoder import Encoder
from dinotxt.search.engines import faiss as engines
from dinotxt.search.index import ImageIndex, IndexSettings
from dinotxt.search.store.store import Store

MakePicture = Callable[..., Path]
MakeEncoder = Callable[..., Encoder]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "EXACT_ROWS", 25)
    monkeypatch.setattr(engines, "LEAST_ROWS", 10)


@pytest.fixture
def build(
    tmp_path: Path, make_encoder: MakeEncoder, make_picture: MakePicture
) -> Callable[..., ImageIndex]:
    """Make an album of noise larger, and index it."""

    def call(numbers: range, **settings: Any) -> ImageIndex:
        for number in numbers:
            make_picture(f"{number % 3}/{number:03d}.png")
        album, path = tmp_path / "album", tmp_path / "index"
        return ImageIndex.build(
            make_encoder(), album, path, batch_size=1, settings=IndexSettings(**settings)
        )

    return call


def files(index: ImageIndex) -> set[str]:
    return {path.name for path in index.path.iterdir() if path.name.startswith("approximate")}


def finds_each(index: ImageIndex) -> bool:
    pictures = sorted(index.root.rglob("*.png"))
    return all(index.search(image=path, k=1)[0].path == str(path) for path in pictures)


def test_a_large_index_gets_a_graph_and_says_so(build: Callable[..., ImageIndex]) -> None:
    assert build(range(5)).engine == "exact"
    large = build(range(30))
    assert large.engine == "hnsw"
    assert files(large) == {"approximate-000001.faiss", "approximate-000001-base-000002.npy"}
    assert finds_each(large)


def test_few_changes_are_carried_over_and_many_make_it_new(
    build: Callable[..., ImageIndex], tmp_path: Path
) -> None:
    build(range(30))
    (tmp_path / "album" / "0" / "003.png").unlink()
    few = build(range(31, 32))
    assert files(few) == {"approximate-000001.faiss", "approximate-000001-base-000002.npy"}
    assert finds_each(few)
    many = build(range(40, 50))
    assert files(many) == {"approximate-000002.faiss", "approximate-000002-base-000003.npy"}
    assert finds_each(many)


def test_the_engine_can_be_asked_for_and_is_remembered(build: Callable[..., ImageIndex]) -> None:
    assert build(range(5), engine="hnsw").engine == "exact"
    assert build(range(12)).engine == "hnsw"
    exact = build(range(30), engine="exact")
    assert exact.engine == "exact"
    assert not files(exact)
    assert build(range(30), engine="auto").engine == "hnsw"


def test_without_faiss_a_large_index_is_searched_exactly_unless_one_insists(
    build: Callable[..., ImageIndex],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert build(range(30)).engine == "exact"
    assert "dinotxt[faiss]" in caplog.text
    with pytest.raises(BackendError, match=r"dinotxt\[faiss\]"):
        build(range(30), engine="hnsw")


def test_an_index_with_a_graph_opens_without_faiss(
    build: Callable[..., ImageIndex], make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(range(30)).path
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert ImageIndex.open(path, encoder=make_encoder()).engine == "exact"


def test_a_run_that_was_stopped_at_the_graph_makes_it_the_next_time(
    build: Callable[..., ImageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("dinotxt.search.store.approximation.build_approximate", stop)
        with pytest.raises(KeyboardInterrupt):
            build(range(30))
    again = build(range(30))
    assert again.engine == "hnsw"
    assert again.changes == (0, 0, 0)


def test_a_missing_map_is_named_as_damage(
    build: Callable[..., ImageIndex], make_encoder: MakeEncoder
) -> None:
    path = build(range(30)).path
    kept = Store.open(path).manifest.approximation
    assert kept is not None
    shutil.move(Store.open(path).places_path(kept.number, "base-000001"), path / "away")
    with pytest.raises(DataError, match="is damaged"):
        ImageIndex.open(path, encoder=make_encoder())
