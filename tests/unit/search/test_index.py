import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dinotxt.errors import ConfigError, DataError
from dinotxt.inference.encoder import Encoder
from dinotxt.results.skip import Skip
from dinotxt.search.index import ImageIndex, IndexSettings
from dinotxt.search.store import segment

MakePicture = Callable[..., Path]
MakeEncoder = Callable[..., Encoder]


def names(index: ImageIndex, words: str, k: int = 5) -> list[str]:
    return [Path(hit.path).stem for hit in index.search(words, k=k)]


def content(index: ImageIndex) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in index.path.iterdir()}


def test_words_find_the_picture_that_shows_them(album: Path, make_encoder: MakeEncoder) -> None:
    index = ImageIndex.build(make_encoder(), album, album.parent / "index")
    assert len(index) == 4
    assert index.changes == (4, 0, 0)
    assert names(index, "a green thing", k=1) == ["green"]
    assert names(index, "a blue thing", k=1) == ["blue"]
    scores = [hit.score for hit in index.search("red", k=9)]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert all(Path(hit.path).is_file() for hit in index.search("red"))


def test_a_picture_finds_itself(album: Path, make_encoder: MakeEncoder) -> None:
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", batch_size=1)
    picture = album / "0" / "blue.png"
    (hit,) = index.search(image=picture, k=1)
    assert Path(hit.path) == picture
    assert hit.score == pytest.approx(1, abs=1e-5)


def test_an_index_opens_again(album: Path, make_encoder: MakeEncoder) -> None:
    built = ImageIndex.build(make_encoder(), album, album.parent / "index")
    opened = ImageIndex.open(album.parent / "index", make_encoder())
    assert opened.search("yellow") == built.search("yellow")
    assert opened.changes == (0, 0, 0)
    assert opened.root == album


@pytest.mark.parametrize(
    "query", [{}, {"words": " "}, {"words": "red", "image": "a.jpg"}, {"words": "red", "k": 0}]
)
def test_a_query_that_makes_no_sense_is_refused(
    album: Path, make_encoder: MakeEncoder, query: dict[str, Any]
) -> None:
    index = ImageIndex.build(make_encoder(), album, album.parent / "index")
    with pytest.raises(ConfigError):
        index.search(**query)


def test_another_models_index_is_refused_naming_both(
    album: Path, make_encoder: MakeEncoder
) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder("aaaa1111", "first"), album, path)
    other = make_encoder("bbbb2222", "second")
    refusal = r"first \(aaaa1111\), not with second \(bbbb2222\)"
    with pytest.raises(DataError, match=refusal):
        ImageIndex.open(path, encoder=other)
    with pytest.raises(DataError, match=refusal):
        ImageIndex.build(other, album, path)


def test_another_input_size_is_refused_for_an_update(
    album: Path, make_encoder: MakeEncoder
) -> None:
    ImageIndex.build(make_encoder(), album, album.parent / "index")
    with pytest.raises(DataError, match="another input size"):
        ImageIndex.build(make_encoder(size=4), album, album.parent / "index")


def test_another_folder_is_refused_but_a_moved_one_is_followed(
    album: Path, make_encoder: MakeEncoder
) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder(), album, path)
    moved = album.parent / "moved"
    shutil.copytree(album, moved)
    with pytest.raises(DataError, match="is the index of"):
        ImageIndex.build(make_encoder(), moved, path)
    shutil.rmtree(album)
    index = ImageIndex.build(make_encoder(), moved, path)
    assert index.changes == (0, 0, 0)
    assert Path(index.search("red", k=1)[0].path).parent.parent == moved


def test_an_empty_folder_is_an_error_and_an_index_of_it_stays(
    album: Path, make_encoder: MakeEncoder
) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder(), album, path)
    shutil.rmtree(album)
    album.mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        ImageIndex.build(make_encoder(), album, path)
    assert len(ImageIndex.open(path, encoder=make_encoder())) == 4


def test_an_update_finds_added_changed_and_deleted_pictures(
    album: Path, make_encoder: MakeEncoder, make_picture: MakePicture
) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder(), album, path)
    make_picture("new/white.png", "white")
    make_picture("0/red.png", "green")
    (album / "1" / "yellow.png").unlink()
    encoder = make_encoder()
    index = ImageIndex.build(encoder, album, path)
    assert index.changes == (1, 1, 1)
    assert len(index) == 4
    towers: Any = encoder.towers
    assert towers.num_pictures == 2
    assert set(names(index, "green", k=2)) == {"green", "red"}
    assert names(index, "white", k=1) == ["white"]
    assert "yellow" not in names(index, "yellow")


def test_an_updated_index_equals_a_new_one(
    album: Path, make_encoder: MakeEncoder, make_picture: MakePicture
) -> None:
    ImageIndex.build(make_encoder(), album, album.parent / "index", batch_size=1)
    make_picture("0/a.png")
    (album / "1" / "yellow.png").unlink()
    updated = ImageIndex.build(make_encoder(), album, album.parent / "index", batch_size=1)
    fresh = ImageIndex.build(make_encoder(), album, album.parent / "fresh", batch_size=1)
    for ending in ("npy", "jsonl", "unreadable.jsonl"):
        kept = (updated.path / f"base-000002.{ending}").read_bytes()
        assert kept == (fresh.path / f"base-000001.{ending}").read_bytes()


def test_nothing_new_leaves_every_file_as_it_is(album: Path, make_encoder: MakeEncoder) -> None:
    index = ImageIndex.build(make_encoder(), album, album.parent / "index")
    before = content(index)
    encoder = make_encoder()
    assert ImageIndex.build(encoder, album, album.parent / "index").changes == (0, 0, 0)
    assert content(index) == before
    towers: Any = encoder.towers
    assert towers.num_pictures == 0


def test_a_touched_picture_is_not_encoded_again(album: Path, make_encoder: MakeEncoder) -> None:
    path = album.parent / "index"
    before = ImageIndex.build(make_encoder(), album, path).search("red")
    os.utime(album / "0" / "red.png", ns=(1, 1))
    for _ in range(2):
        encoder = make_encoder()
        index = ImageIndex.build(encoder, album, path)
        towers: Any = encoder.towers
        assert towers.num_pictures == 0
        assert index.changes == (0, 0, 0)
        assert index.search("red") == before
    record = next(
        r for r in segment.Segment.open(path, "base-000002", 3).records() if "red" in r.path
    )
    assert record.mtime_ns == 1


def test_an_index_inside_its_album_never_takes_its_small_copies_for_pictures(
    album: Path, make_encoder: MakeEncoder
) -> None:
    place, settings = album / "found", IndexSettings(thumbnails=16)
    assert len(ImageIndex.build(make_encoder(), album, place, settings=settings)) == 4
    assert len(list(place.rglob("*.jpg"))) == 4
    for _ in range(2):
        with pytest.warns(UserWarning, match="found is what dinotxt index wrote"):
            again = ImageIndex.build(make_encoder(), album, place, settings=settings)
        assert len(again) == 4
        assert again.changes == (0, 0, 0)


def test_an_index_keeps_the_pictures_behind_a_link_that_leads_nowhere(
    album: Path, make_encoder: MakeEncoder
) -> None:
    away = album.parent / "disk"
    shutil.copytree(album / "0", away)
    (album / "linked").symlink_to(away, target_is_directory=True)
    index = album.parent / "index"
    before = len(ImageIndex.build(make_encoder(), album, index))
    away.rename(album.parent / "unplugged")
    skipped: list[Skip] = []
    after = ImageIndex.build(make_encoder(), album, index, on_skip=skipped.append)
    assert (len(after), after.changes.deleted) == (before, 0)
    assert skipped == [Skip(f"{album}/linked", "is a link to nothing")]
