"""Pictures of an index are not lost; its files are what was written, or one error says so."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.inference.encoder import Encoder
from dinotxt.results.skip import Skip
from dinotxt.search import update
from dinotxt.search.index import ImageIndex, IndexSettings
from dinotxt.search.store import verify_index
from dinotxt.search.where import Filter

MakeEncoder = Callable[..., Encoder]


@pytest.fixture
def made(album: Path, make_encoder: MakeEncoder) -> Path:
    """The folder of an index of four pictures."""
    return ImageIndex.build(make_encoder(), album, album.parent / "index").path


def edit(path: Path, **changes: Any) -> None:
    manifest = path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def test_an_index_inside_the_album_is_never_indexed(album: Path, make_encoder: MakeEncoder) -> None:
    for _ in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it leaves the index out
            index = ImageIndex.build(
                make_encoder(), album, album / "index", settings=IndexSettings(thumbnails=4)
            )
        assert len(index) == 4
    assert len(list((album / "index" / "thumbnails").rglob("*.jpg"))) == 4


def test_the_pictures_of_a_link_or_a_disk_that_is_away_are_kept_and_named(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, other = album / "1", album.parent / "other"
    other.mkdir()
    shutil.copy(album / "0" / "red.png", other / "linked.png")
    (album / "link").symlink_to(other)
    path = album.parent / "index"
    device = update._device
    with monkeypatch.context() as patched:
        patched.setattr(update, "_device", lambda folder: 7 if folder == disk else device(folder))
        assert len(ImageIndex.build(make_encoder(), album, path)) == 5
    for picture in list(disk.iterdir()):
        picture.rename(album.parent / picture.name)
    other.rename(album.parent / "away")
    for _ in range(2):
        skipped: list[Skip] = []
        index = ImageIndex.build(make_encoder(), album, path, on_skip=skipped.append)
        assert index.changes == (0, 0, 0)
        assert len(index) == 5
        assert {Path(skip.path).name: skip.reason for skip in skipped} == {
            "link": "is a link to nothing",
            "1": "is not mounted: what is known of its pictures is kept",
        }


@pytest.mark.parametrize("ending", ["npy", "jsonl"])
def test_one_flipped_bit_is_found(
    album: Path, made: Path, make_encoder: MakeEncoder, ending: str
) -> None:
    assert verify_index(made) == (3, [])
    base = made / f"base-000001.{ending}"
    whole = base.read_bytes()
    (album / "new.png").write_bytes((album / "0" / "red.png").read_bytes())
    for place in (0, len(whole) // 2, len(whole) - 1):
        content = bytearray(whole)
        content[place] ^= 4
        base.write_bytes(content)
        with pytest.raises(DataError, match=rf"base-000001\.{ending} is damaged"):
            ImageIndex.open(made, encoder=make_encoder())
        checked, damaged = verify_index(made)
        assert (checked, [skip.path for skip in damaged]) == (3, [str(base)])
        with pytest.raises(DataError, match="is damaged"):
            ImageIndex.build(make_encoder(), album, made)
    base.write_bytes(whole)
    assert len(ImageIndex.build(make_encoder(), album, made)) == 5


def test_a_flipped_bit_between_the_samples_stops_the_next_update(
    album: Path, made: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinotxt.search.store.store.Store.look_at", lambda *_: None)
    base = made / "base-000001.npy"
    content = bytearray(base.read_bytes())
    content[-2] ^= 1
    base.write_bytes(content)
    assert len(ImageIndex.open(made, encoder=make_encoder())) == 4
    assert [skip.path for skip in verify_index(made)[1]] == [str(base)]
    (album / "new.png").write_bytes((album / "0" / "red.png").read_bytes())
    with pytest.raises(DataError, match=r"base-000001\.npy is damaged"):
        ImageIndex.build(make_encoder(), album, made)


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": -3}, {"dim": 4}, {"dim": 10**30}, {"size": 0}, {"generation": -1},
        {"generation": 9}, {"num_pieces": -1}, {"thumbnails": -1}, {"mounts": 3}, {"files": []},
        {"approximation": {"engine": "hnsw", "number": 1, "size": 4}},
    ],
)  # fmt: skip
def test_a_manifest_with_wrong_values_is_one_clear_error(
    made: Path, make_encoder: MakeEncoder, changes: dict[str, Any]
) -> None:
    edit(made, **changes)
    with pytest.raises(DataError, match="damaged"):
        ImageIndex.open(made, encoder=make_encoder())


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((4, 3), np.float64), np.zeros((4, 3), np.int32), np.zeros((4, 2), np.float32),
        np.zeros(12, np.float32), np.full((4, 3), np.nan, np.float32), np.array([["a"] * 3] * 4),
    ],
    ids=["float64", "int32", "narrow", "flat", "nan", "text"],
)  # fmt: skip
@pytest.mark.parametrize("checks", [True, False])
def test_other_vectors_than_were_written_are_one_clear_error(
    made: Path, make_encoder: MakeEncoder, vectors: Any, checks: bool
) -> None:
    np.save(made / "base-000001.npy", vectors)
    if not checks:
        edit(made, files={})
    with pytest.raises(DataError, match="damaged"):
        ImageIndex.open(made, encoder=make_encoder())
    assert verify_index(made)[1]


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../../etc/passwd"}, {"path": "/etc/passwd"}, {"path": "a\0b"}, {"path": ""},
        {"path": 3}, {"size": "large"}, {"taken": None}, {"unknown": 1}, {"taken": "not a day"},
    ],
)  # fmt: skip
def test_a_record_that_is_none_or_points_outside_is_one_clear_error(
    made: Path, make_encoder: MakeEncoder, change: dict[str, Any]
) -> None:
    lines = (made / "base-000001.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **change})
    (made / "base-000001.jsonl").write_text("\n".join(lines) + "\n")
    edit(made, files={})
    index = ImageIndex.open(made, encoder=make_encoder())
    with pytest.raises(DataError, match="damaged"):
        index.search("red", where=Filter.parse(since="1970"))
