import io
import os
from datetime import date

import pytest
from PIL import ExifTags, Image

from dinotxt.search.dates import date_taken, file_date, period


def photo(taken: str | None, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_date_comes_from_the_picture(kind: str) -> None:
    assert date_taken(photo("2021:07:14 18:30:00", kind)) == "2021-07-14"


@pytest.mark.parametrize("taken", [None, "", "0000:00:00 00:00:00", "yesterday"])
def test_a_picture_that_says_nothing_sensible_has_no_date(taken: str | None) -> None:
    assert date_taken(photo(taken)) == ""


def test_damaged_exif_is_no_error() -> None:
    content = photo("2021:07:14 18:30:00")
    at = content.index(b"Exif")
    assert date_taken(content[: at + 10]) == ""
    assert date_taken(content[:at] + b"Exif" + b"\xff" * 200) == ""
    assert date_taken(b"") == ""


def test_a_file_has_the_day_of_its_time_or_none() -> None:
    assert file_date(1_600_000_000_000_000_000) in {"2020-09-13", "2020-09-14"}
    assert file_date(10**30) == ""


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2023-12", date(2023, 12, 1), date(2023, 12, 31)),
        (" 2024-05-06 ", date(2024, 5, 6), date(2024, 5, 6)),
    ],
)
def test_a_year_and_a_month_are_whole(text: str, first: date, last: date) -> None:
    assert period(text) == (first, last)


@pytest.mark.parametrize("text", ["", "24", "2024-13", "2024-02-30", "0000", "06.05.2024", os.sep])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no date"):
        period(text)
