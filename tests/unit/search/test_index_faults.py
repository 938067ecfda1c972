"""What goes wrong while an index is made, and what is left of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.errors import BackendError, DataError
from dinotxt.files import one_writer
from dinotxt.inference.encoder import Encoder
from dinotxt.results.skip import Skip
from dinotxt.search import index as index_module
from dinotxt.search.index import ImageIndex
from dinotxt.search.where import Filter

MakePicture = Callable[..., Path]
MakeEncoder = Callable[..., Encoder]


def names(index: ImageIndex, words: str, k: int = 5) -> list[str]:
    return [Path(hit.path).stem for hit in index.search(words, k=k)]


def content(index: ImageIndex) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in index.path.iterdir()}


def test_unreadable_pictures_are_skipped_and_not_tried_again(
    album: Path, make_encoder: MakeEncoder, make_picture: MakePicture
) -> None:
    broken = album / "0" / "broken.jpg"
    broken.write_bytes(b"no picture")
    for _ in range(2):
        skipped: list[Skip] = []
        index = ImageIndex.build(
            make_encoder(), album, album.parent / "index", on_skip=skipped.append
        )
        assert [skip.path for skip in skipped] == [str(broken)]
        assert "is not a picture" in skipped[0].reason
        assert index.skipped == tuple(skipped)
        assert len(index) == 4
    make_picture("0/broken.jpg", "white")
    repaired = ImageIndex.build(make_encoder(), album, album.parent / "index")
    assert repaired.changes == (1, 0, 0)
    assert repaired.skipped == ()


def test_a_known_bad_picture_is_not_decoded_again(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "broken.jpg").write_bytes(b"no picture")
    ImageIndex.build(make_encoder(), album, album.parent / "index")
    encoder = make_encoder()
    monkeypatch.setattr(encoder.transform, "load", lambda source: pytest.fail(str(source)))
    assert len(ImageIndex.build(encoder, album, album.parent / "index")) == 4


def test_a_picture_that_breaks_becomes_unreadable(album: Path, make_encoder: MakeEncoder) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder(), album, path)
    (album / "0" / "red.png").write_bytes(b"now broken")
    index = ImageIndex.build(make_encoder(), album, path)
    assert index.changes == (0, 0, 1)
    assert "red" not in names(index, "red")
    assert len(index.skipped) == 1


def test_a_disk_error_is_reported_and_tried_again(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == "red.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    skipped: list[Skip] = []
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", on_skip=skipped.append)
    assert skipped == [Skip(str(album / "0" / "red.png"), "cannot be read (Permission denied)")]
    assert index.skipped == ()
    monkeypatch.undo()
    again = ImageIndex.build(make_encoder(), album, album.parent / "index")
    assert again.changes == (1, 0, 0)


def test_pictures_in_a_folder_that_cannot_be_listed_are_kept(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageIndex.build(make_encoder(), album, album.parent / "index")
    listed = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("/0"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    index = ImageIndex.build(make_encoder(), album, album.parent / "index")
    assert index.changes == (0, 0, 0)
    assert len(index) == 4


def test_a_picture_without_a_finite_vector_is_named(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder()
    encode = encoder.towers.encode_image

    def spoil(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        features = encode(pixels)
        features[0] = np.nan
        return features

    monkeypatch.setattr(encoder.towers, "encode_image", spoil)
    index = ImageIndex.build(encoder, album, album.parent / "index")
    assert len(index) == 3
    assert index.skipped[0].reason == "the model gives no finite vector for it"


def test_a_picture_that_the_model_refuses_does_not_take_its_batch_along(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder()
    encode = encoder.towers.encode_image

    def refuse_red(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        if ((pixels[:, 0] > 0.9) & (pixels[:, 1] < -0.9)).any():
            raise DataError("too red")
        return encode(pixels)

    monkeypatch.setattr(encoder.towers, "encode_image", refuse_red)
    index = ImageIndex.build(encoder, album, album.parent / "index")
    assert len(index) == 3
    assert [skip.reason for skip in index.skipped] == ["too red"]


def test_a_full_disk_is_an_error_and_the_old_index_stays(
    album: Path,
    make_encoder: MakeEncoder,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder(), album, path)
    make_picture("0/more.png")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dinotxt.search.update.write_segment", full)
    with pytest.raises(BackendError, match="No space left"):
        ImageIndex.build(make_encoder(), album, path)
    assert len(ImageIndex.open(path, encoder=make_encoder())) == 4


def test_a_stopped_build_goes_on_with_the_same_batches(
    tmp_path: Path,
    make_encoder: MakeEncoder,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(index_module, "COMMIT_SECONDS", 0.0)
    for number in range(40):
        make_picture(f"{number % 3}/{number:02d}.png")
    (tmp_path / "album" / "1" / "11.jpg").write_bytes(b"broken")
    album = tmp_path / "album"
    whole = ImageIndex.build(make_encoder(), album, tmp_path / "whole", batch_size=4)

    def stop(done: int, total: int) -> None:
        del total
        if done >= 8:
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            ImageIndex.build(make_encoder(), album, tmp_path / "part", batch_size=4, progress=stop)
    with caplog.at_level("WARNING"):
        partly = ImageIndex.open(tmp_path / "part", encoder=make_encoder())
    assert "only its first 12 pictures are searched" in caplog.text
    known = {hit.path: hit.score for hit in whole.search("red", k=40)}
    hits = partly.search("red", k=40, where=Filter(folders=("0",)))
    assert [hit.score for hit in hits] == [known[hit.path] for hit in hits]
    assert len(hits) == len(partly) == 12
    encoder = make_encoder()
    resumed = ImageIndex.build(encoder, album, tmp_path / "part", batch_size=4)
    towers: Any = encoder.towers
    assert towers.num_pictures <= 40 - 3 * 4
    assert resumed.changes == (40, 0, 0)
    assert content(resumed) == content(whole)


def test_an_index_that_is_being_written_is_not_touched(
    album: Path, make_encoder: MakeEncoder
) -> None:
    path = album.parent / "index"
    ImageIndex.build(make_encoder(), album, path)
    with one_writer(path, "index"), pytest.raises(DataError, match="written by `dinotxt index`"):
        ImageIndex.build(make_encoder(), album, path)


def test_a_name_that_is_not_utf8_is_indexed(album: Path, make_encoder: MakeEncoder) -> None:
    name = os.fsencode(album) + b"/caf\xe9.png"
    shutil.copy(os.fsencode(album / "0" / "blue.png"), name)
    index = ImageIndex.build(make_encoder(), album, album.parent / "index")
    assert len(index) == 5
    assert name in {os.fsencode(hit.path) for hit in index.search("blue")}


def test_the_index_imports_no_torch() -> None:
    code = "import dinotxt.search.index, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_above_the_limit_is_skipped_without_reading_it(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = album / "large.jpg"
    with large.open("wb") as stream:
        stream.truncate((1 << 27) + 1)
    for _ in range(2):
        index = ImageIndex.build(make_encoder(), album, album.parent / "index")
        assert len(index) == 4
        assert index.skipped[0].path == str(large)
        assert "raise Limits.max_bytes" in index.skipped[0].reason
        monkeypatch.setattr("dinotxt.search.update._Content", pytest.fail)


def test_a_touched_picture_that_the_disk_refuses_keeps_its_vector(
    album: Path, make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    ImageIndex.build(make_encoder(), album, album.parent / "index")
    os.utime(album / "0" / "red.png", ns=(1, 1))
    monkeypatch.setattr("dinotxt.search.update.sha256_file", fail)
    monkeypatch.setattr("dinotxt.search.update._Content", fail)
    skipped: list[Skip] = []
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", on_skip=skipped.append)
    assert index.changes == (0, 0, 0)
    assert "red" in names(index, "red")
    assert [Path(skip.path).name for skip in skipped] == ["red.png"]


def test_many_pieces_do_not_need_many_open_files(
    album: Path,
    make_encoder: MakeEncoder,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_module, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("dinotxt.search.store.table._MOST_OPEN", 2)
    for number in range(5):
        make_picture(f"1/{number}.png")
    index = ImageIndex.build(make_encoder(), album, album.parent / "index", batch_size=1)
    assert len(index) == 9
    hit = index.search(image=album / "1" / "3.png", k=1)[0]
    assert hit.path == str(album / "1" / "3.png")
