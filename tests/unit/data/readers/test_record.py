import os
import pickle
from pathlib import Path

import pytest

from dinotxt.data.readers.record import ImageRef
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip, or_raise


def test_range_of_a_file_is_read_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    ref = ImageRef(str(tmp_path / "a.tar"), 3, 4, "x.jpg")
    assert ref.read() == b"3456"
    assert ref.name == f"{tmp_path / 'a.tar'}::x.jpg"
    assert pickle.loads(pickle.dumps(ref)) == ref


def test_range_beyond_the_file_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    with pytest.raises(DataError, match="cut short: 2 of 9 bytes"):
        ImageRef(str(tmp_path / "a.tar"), 8, 9, "x").read()


def test_missing_folder_pipe_and_address_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "none.jpg", "does not exist"),
        (tmp_path, "cannot be read"),
        ("https://x.org/a.jpg", "not fetched"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            ImageRef(str(path)).read()
    with pytest.raises(DataError):
        ImageRef(str(tmp_path / "pipe")).open()


def test_limit_of_bytes_holds(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"0123456789")
    with pytest.raises(DataError, match="more than 5"):
        ImageRef(str(tmp_path / "a.jpg")).read(5)


def test_report_raises_unless_it_is_given() -> None:
    with pytest.raises(DataError, match="a: bad"):
        or_raise(None)(Skip("a", "bad"))
    skips: list[Skip] = []
    or_raise(skips.append)(Skip("a", "bad"))
    assert skips == [Skip("a", "bad")]
