"""The user's own dumps, streamed: a corpus of text, and page titles with how often they were read.

Files may be gzip-compressed (``.gz``), and are never held in memory as a whole.
"""

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from dinotxt.curation.text.words import WordCounts, count_words
from dinotxt.data.readers import expand, or_raise
from dinotxt.errors import DataError

_LINES_AT_ONCE = 100_000
_LEAST_AN_HOUR = 50  # views; MetaCLIP's bound, which leaves out most lines of an hour
_ENGLISH = ("en", "en.m")
_PAGEVIEWS_FIELDS = 4  # domain, title, views, bytes


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file without their ends.

    Raises:
        DataError: If it is missing, damaged or not UTF-8.
    """
    try:
        with _open(path) as stream:
            for line in stream:
                yield line.rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} is not a readable list of UTF-8 lines ({error}).") from None


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def count_corpus(path: Path) -> WordCounts:
    """Count the words and pairs of words of a corpus, one text a line."""
    total = WordCounts()
    lines = read_lines(path)
    while chunk := list(islice(lines, _LINES_AT_ONCE)):
        total.add(count_words(chunk))
    return total


def title_views(pattern: str) -> dict[str, int]:
    """Return how often each page was read, over all files of a path or pattern.

    Lines are ``title<TAB>views``, or those of Wikimedia's hourly ``pageviews-*.gz``: ``en Title 61
    0``, of which English ones with at least 50 views in the hour count. Titles with a colon belong
    to other name spaces and are left out; underscores become spaces.

    Raises:
        DataError: If a file is missing or damaged.
    """
    views: dict[str, int] = {}
    for path in expand(pattern, or_raise(None)):
        for line in read_lines(path):
            title, count = _title(line)
            if title and ":" not in title and count.isdigit():
                title = title.replace("_", " ")
                views[title] = views.get(title, 0) + int(count)
    return views


def _title(line: str) -> tuple[str, str]:
    """Return (title, views) of a line; an empty title where it has none that counts."""
    if "\t" in line:
        title, _, count = line.rpartition("\t")
        return title, count.strip()
    fields = line.split(" ")
    if len(fields) != _PAGEVIEWS_FIELDS or fields[0] not in _ENGLISH or not fields[2].isdigit():
        return "", ""
    return (fields[1], fields[2]) if int(fields[2]) >= _LEAST_AN_HOUR else ("", "")
