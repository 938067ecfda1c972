from pathlib import Path

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.search.store.segment import Record, Segment, remove_segment, write_segment

RECORDS = [
    Record("a.jpg", 10, 1, "aa"),
    Record("broken.jpg", 3, 2, "bb", "is damaged"),
    Record("caf\udce9\n\u2028.jpg", 11, 3, "cc"),
]
VECTORS = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_written_segment_reads_back(tmp_path: Path) -> None:
    write_segment(tmp_path, "s", [VECTORS[:1], VECTORS[1:]], RECORDS, 4)
    segment = Segment.open(tmp_path, "s", 4)
    assert np.array_equal(segment.vectors, VECTORS)
    assert list(segment.records()) == [RECORDS[0], RECORDS[2]]
    assert list(segment.unreadable()) == [RECORDS[1]]
    assert [segment.record(row) for row in range(len(segment))] == [RECORDS[0], RECORDS[2]]


def test_vectors_stay_on_the_disk(tmp_path: Path) -> None:
    write_segment(tmp_path, "s", [VECTORS], [RECORDS[0], RECORDS[2]], 4)
    assert isinstance(Segment.open(tmp_path, "s", 4).vectors, np.memmap)


def test_a_segment_may_be_empty(tmp_path: Path) -> None:
    write_segment(tmp_path, "s", [], [RECORDS[1]], 4)
    segment = Segment.open(tmp_path, "s", 4)
    assert segment.vectors.shape == (0, 4)
    assert len(list(segment.unreadable())) == 1


@pytest.mark.parametrize("ending", ["npy", "jsonl", "unreadable.jsonl"])
def test_a_missing_file_is_named_as_damage(tmp_path: Path, ending: str) -> None:
    write_segment(tmp_path, "s", [VECTORS], [RECORDS[0], RECORDS[2]], 4)
    (tmp_path / f"s.{ending}").unlink()
    with pytest.raises(DataError, match="is damaged"):
        Segment.open(tmp_path, "s", 4)


def test_a_truncated_file_is_named_as_damage(tmp_path: Path) -> None:
    write_segment(tmp_path, "s", [VECTORS], [RECORDS[0], RECORDS[2]], 4)
    content = (tmp_path / "s.npy").read_bytes()
    (tmp_path / "s.npy").write_bytes(content[:-5])
    with pytest.raises(DataError, match="delete it and index again"):
        Segment.open(tmp_path, "s", 4)
    (tmp_path / "s.npy").write_bytes(content)
    (tmp_path / "s.jsonl").write_text("")
    with pytest.raises(DataError, match="delete it and index again"):
        Segment.open(tmp_path, "s", 4)


def test_removing_a_segment_leaves_nothing(tmp_path: Path) -> None:
    write_segment(tmp_path, "s", [VECTORS], [RECORDS[0], RECORDS[2]], 4)
    remove_segment(tmp_path, "s")
    remove_segment(tmp_path, "s")
    assert not list(tmp_path.iterdir())


def test_a_damaged_line_is_named_as_damage(tmp_path: Path) -> None:
    write_segment(tmp_path, "s", [VECTORS], [RECORDS[0], RECORDS[2]], 4)
    (tmp_path / "s.jsonl").write_text('{"path": "a.jpg"}\nnonsense\n')
    with pytest.raises(DataError, match="is damaged"):
        list(Segment.open(tmp_path, "s", 4).records())
