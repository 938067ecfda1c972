from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

from dinotxt.data.pictures.folder import sort_key
from dinotxt.errors import ConfigError
from dinotxt.search.store.segment import Record, Segment, write_segment
from dinotxt.search.where import Filter, matching_rows

ROOT = Path("/photos")
PATHS = ["2019/a.jpg", "2020/ski/b.jpg", "2020/ski/c.jpg", "2020-x/d.jpg", "2020/e.jpg", "f.jpg"]
MakeSegment = Callable[..., Segment]


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """Six pictures, a month apart in the order of their paths; the last one's date is EXIF's."""
    paths = sorted(PATHS, key=sort_key)
    records = []
    for month, path in enumerate(paths, start=1):
        noon = datetime(2022, month, 5, 12).timestamp()
        records.append(Record(path, 1, int(noon * 1e9), f"{month}"))
    records[-1] = records[-1]._replace(taken="1999-12-31")
    write_segment(tmp_path, "s", [np.ones((len(paths), 2), np.float32)], records, 2)
    return Segment.open(tmp_path, "s", 2)


def found(segment: Segment, where: Filter) -> list[str]:
    return [segment.record(int(row)).path for row in matching_rows(segment, ROOT, where)]


@pytest.mark.parametrize("folder", ["2020", "2020/", "/photos/2020", "./2020"])
def test_a_folder_holds_its_own_pictures_at_any_depth(segment: Segment, folder: str) -> None:
    inside = found(segment, Filter(folders=(folder,)))
    assert sorted(inside) == ["2020/e.jpg", "2020/ski/b.jpg", "2020/ski/c.jpg"]


def test_folders_add_up_and_the_whole_is_the_whole(segment: Segment) -> None:
    assert len(found(segment, Filter(folders=("2019", "2020/ski")))) == 3
    assert len(found(segment, Filter(folders=(".",)))) == 6
    assert len(found(segment, Filter(folders=("2020", "2020/ski")))) == 3


def test_dates_are_inclusive_and_exif_comes_first(segment: Segment) -> None:
    rows = matching_rows(segment, ROOT, Filter(since=date(2022, 2, 5), until=date(2022, 3, 5)))
    assert rows.tolist() == [1, 2]
    assert found(segment, Filter(until=date(2000, 1, 1))) == ["f.jpg"]


def test_a_folder_and_dates_hold_together(segment: Segment) -> None:
    where = Filter(folders=("2020",), until=date(2022, 3, 31))
    rows = matching_rows(segment, ROOT, where)
    assert all(segment.record(int(row)).path.startswith("2020/") for row in rows)
    assert 0 < len(rows) < 3


@pytest.mark.parametrize("folder", ["2021", "2020/sk", "f.jpg/x"])
def test_a_folder_without_pictures_is_refused(segment: Segment, folder: str) -> None:
    with pytest.raises(ConfigError, match="has no pictures in"):
        matching_rows(segment, ROOT, Filter(folders=(folder,)))


@pytest.mark.parametrize("folder", ["/etc", "../other", "2020/../../x"])
def test_a_folder_outside_is_refused_without_naming_the_root(segment: Segment, folder: str) -> None:
    with pytest.raises(ConfigError, match="is not in the indexed folder") as caught:
        matching_rows(segment, ROOT, Filter(folders=(folder,)))
    assert "photos" not in str(caught.value)


def test_text_becomes_a_filter() -> None:
    where = Filter.parse(["a"], "2020", "2021-02")
    assert where == Filter(folders=("a",), since=date(2020, 1, 1), until=date(2021, 2, 28))
    assert not Filter.parse()
    for dates in (("2021", "2020"), ("soon", None)):
        with pytest.raises(ConfigError):
            Filter.parse((), *dates)
