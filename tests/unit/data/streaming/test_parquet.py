from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from dinotxt.data.readers.sample import tar_samples
from dinotxt.data.streaming.parquet import num_rows, unpack_parquet
from dinotxt.errors import DataError


def unpacked(tmp_path: Path, columns: dict[str, list[Any]]) -> list[tuple[str, bytes | None, Any]]:
    source = tmp_path / "part.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), source)
    target = tmp_path / "out.tar"
    unpack_parquet(source, target)
    samples = list(tar_samples([target], lambda skip: pytest.fail(skip.reason)))
    found = []
    for sample in samples:
        image = sample.parts.get("image")
        found.append((sample.key, image.read() if image else None, sample.captions()))
    return found


def test_rows_become_samples_in_their_order(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "jpg": [b"one", b"two"],
        "caption": ["a dog", "a cat"],
        "key": ["x/1", "y"],
    }
    assert unpacked(tmp_path, columns) == [
        ("out/00000000-x_1", b"one", ("a dog",)),
        ("out/00000001-y", b"two", ("a cat",)),
    ]
    assert num_rows(tmp_path / "part.parquet") == 2


def test_the_images_of_hugging_face_and_lists_of_captions_are_read(tmp_path: Path) -> None:
    image = {"bytes": b"one", "path": "a.jpg"}
    found = unpacked(tmp_path, {"image": [image], "captions": [["a dog", "a puppy"]]})
    assert found == [("out/00000000", b"one", ("a dog", "a puppy"))]


def test_a_row_without_a_picture_keeps_its_place(tmp_path: Path) -> None:
    found = unpacked(tmp_path, {"image": [None, b"two"], "text": ["a dog", None]})
    assert [(image, captions) for _, image, captions in found] == [
        (None, ("a dog",)),
        (b"two", ()),
    ]


def test_captions_that_are_no_text_are_told_when_the_sample_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not text"):
        unpacked(tmp_path, {"image": [b"one"], "caption": [7]})


def test_a_file_without_the_columns_names_those_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns url, caption: a stream needs the bytes"):
        unpacked(tmp_path, {"url": ["http://x"], "caption": ["a dog"]})


def test_a_damaged_file_leaves_no_tar(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        unpack_parquet(broken, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()
    with pytest.raises(DataError, match="not a readable Parquet file"):
        num_rows(broken)
