"""When a picture was taken: its EXIF date, or else the date of its file."""

import re
from datetime import date, datetime

from dinotxt.data.pictures import open_undecoded

_EXIF_IFD = 0x8769
_TAKEN_TAGS = (0x9003, 0x9004)  # DateTimeOriginal, DateTimeDigitized
_MAY_HAVE_IT_LATER = (b"II*\0", b"MM\0*", b"RIFF")  # TIFF and WebP
_HEAD_BYTES = 1 << 16
_PERIOD = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def date_taken(content: bytes) -> str:
    """Return the day on which a picture was taken as ``YYYY-MM-DD``; empty if it does not say.

    Args:
        content: The bytes of its file.
    """
    head = content[:_HEAD_BYTES]
    if not head.startswith(_MAY_HAVE_IT_LATER) and b"Exif" not in head:
        return ""
    try:
        with open_undecoded(content) as picture:
            tags = picture.getexif().get_ifd(_EXIF_IFD)
        found = next(str(tags[tag]) for tag in _TAKEN_TAGS if tag in tags)
        return datetime.strptime(found[:10], "%Y:%m:%d").date().isoformat()
    except Exception:  # damaged EXIF raises anything, and a picture needs no date
        return ""


def file_date(mtime_ns: int) -> str:
    """Return the local day of a file's modification time as ``YYYY-MM-DD``; empty if unknown."""
    try:
        return datetime.fromtimestamp(mtime_ns / 1e9).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return ""


def period(text: str) -> tuple[date, date]:
    """Return the first and the last day of ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.

    Raises:
        ValueError: If it is none of these, or no such day exists.
    """
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no date: give YYYY, YYYY-MM or YYYY-MM-DD.")
    year, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None
    try:
        first = date(year, month or 1, day or 1)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date ({error}).") from None
    return first, _last_day(first, month, day)


def _last_day(first: date, month: int | None, day: int | None) -> date:
    if day is not None:
        return first
    if month in (None, 12):
        return date(first.year, 12, 31)
    return date.fromordinal(date(first.year, first.month + 1, 1).toordinal() - 1)
