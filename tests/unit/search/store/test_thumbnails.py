import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dinotxt.data.pictures.image import open_content
from dinotxt.inference.encoder import Encoder
from dinotxt.search.index import ImageIndex, IndexSettings
from dinotxt.search.store.segment import Segment
from dinotxt.search.store.thumbnails import Thumbnails, small_copy

MakePicture = Callable[..., Path]
MakeEncoder = Callable[..., Encoder]
SMALL = IndexSettings(thumbnails=4)


def copies(index: ImageIndex) -> set[Path]:
    return {path for path in (index.path / "thumbnails").rglob("*") if path.is_file()}


def test_a_small_copy_keeps_the_shape_and_drops_the_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    Image.new("RGB", (80, 40), (200, 0, 0)).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(io.BytesIO(small_copy(tmp_path / "a.jpg", 20))) as picture:
        assert picture.size == (20, 10)
        assert not picture.getexif()


@pytest.mark.parametrize("ending", ["jpg", "gif", "png"])
def test_a_small_copy_keeps_no_comment(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    text = PngInfo()
    text.add_text("comment", "a secret")
    options: dict[str, Any] = {"pnginfo": text} if ending == "png" else {"comment": b"a secret"}
    Image.new("RGB", (80, 40), (200, 0, 0)).save(path, **options)
    assert b"a secret" in path.read_bytes()
    assert b"secret" not in small_copy(path, 20)
    assert b"secret" not in small_copy(path, 200)


def test_each_picture_is_decoded_once(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def count(content: bytes, name: str, limits: Any) -> Image.Image:
        opened.append(Path(name).name)
        return open_content(content, name, limits)

    monkeypatch.setattr("dinotxt.data.pictures.image.open_content", count)
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", settings=SMALL)
    assert len(copies(index)) == 4
    assert sorted(opened) == ["blue.png", "green.png", "red.png", "yellow.png"]


def test_an_index_keeps_a_small_copy_of_each_picture(
    album: Path, make_encoder: MakeEncoder
) -> None:
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", settings=SMALL)
    assert len(copies(index)) == 4
    (album / "0" / "red.png").unlink()
    assert index.thumbnail(album / "0" / "red.png", 4).startswith(b"\xff\xd8")


def test_small_copies_follow_the_pictures(
    album: Path, make_encoder: MakeEncoder, make_picture: MakePicture
) -> None:
    path = album.parent / "index"
    assert not copies(ImageIndex.build(make_encoder(), album, path))
    later = ImageIndex.build(make_encoder(), album, path, settings=SMALL)
    assert len(copies(later)) == 4
    make_picture("0/red.png", "white")
    make_picture("new.png")
    (album / "1" / "green.png").unlink()
    (next(iter(copies(later))).parent / ".1-2.tmp").touch()
    updated = ImageIndex.build(make_encoder(), album, path)
    records = Segment.open(path, "base-000002", 3).records()
    kept = Thumbnails(path, 4)
    assert copies(updated) == {kept.path(record.sha256) for record in records}
    none = ImageIndex.build(make_encoder(), album, path, settings=IndexSettings(thumbnails=0))
    assert not copies(none)


def test_a_lost_or_too_small_copy_is_made_from_the_picture(
    album: Path, make_encoder: MakeEncoder
) -> None:
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", settings=SMALL)
    for path in copies(index):
        path.write_bytes(b"")
    for side in (4, 6):
        with Image.open(io.BytesIO(index.thumbnail(album / "0" / "red.png", side))) as picture:
            assert max(picture.size) == side
