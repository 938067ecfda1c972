import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.search.store.segment import Record, write_segment
from dinotxt.search.store.store import Manifest, Store


def manifest() -> Manifest:
    return Manifest(root="/album", model="m", fingerprint="f", transform="t", size=8, dim=2)


def write(store: Store, name: str, path: str) -> None:
    write_segment(store.folder, name, [np.ones((1, 2), np.float32)], [Record(path, 1, 1, "x")], 2)


def names(folder: Path) -> set[str]:
    return {path.name.split(".")[0] for path in folder.glob("*.npy")}


def test_a_new_store_opens_again(tmp_path: Path) -> None:
    Store.create(tmp_path, manifest())
    store = Store.open(tmp_path)
    assert store.manifest == manifest()
    assert store.base() is None
    assert store.pieces() == []


def test_written_files_count_only_after_their_commit(tmp_path: Path) -> None:
    store = Store.create(tmp_path, manifest())
    write(store, store.next_piece, "a.jpg")
    assert Store.open(tmp_path).pieces() == []
    store.commit_piece()
    assert Store.open(tmp_path).pieces() == ["piece-000000"]


def test_a_committed_base_replaces_the_pieces_and_the_base_before(tmp_path: Path) -> None:
    store = Store.create(tmp_path, manifest())
    for path in ("a.jpg", "b.jpg"):
        write(store, store.next_piece, path)
        store.commit_piece()
        write(store, store.next_base, path)
        store.commit_base()
    assert names(tmp_path) == {"base-000002"}
    base = Store.open(tmp_path).base()
    assert base is not None
    assert base.record(0).path == "b.jpg"


def test_cleaning_deletes_leftovers_and_nothing_else(tmp_path: Path) -> None:
    store = Store.create(tmp_path, manifest())
    write(store, store.next_piece, "a.jpg")
    store.commit_piece()
    write(store, store.next_piece, "uncommitted.jpg")
    (tmp_path / ".piece-000001.npy.x7_k2pqa.tmp").touch()
    (tmp_path / ".stranger.tmp").touch()
    (tmp_path / "mine.txt").touch()
    store.clean()
    assert names(tmp_path) == {"piece-000000"}
    left = {path.name for path in tmp_path.iterdir() if path.suffix in {".tmp", ".txt"}}
    assert left == {"mine.txt", ".stranger.tmp"}


def test_a_folder_without_a_manifest_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not an index: make one with `dinotxt index"):
        Store.open(tmp_path / "nothing")


@pytest.mark.parametrize("change", [{"format": 2}, {"dim": "wide"}, {"unknown": 1}])
def test_a_manifest_that_is_not_understood_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    content = {**asdict(manifest()), **change}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="damaged or of a newer dinotxt"):
        Store.open(tmp_path)
