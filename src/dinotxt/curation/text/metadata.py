"""The list that captions are matched against: at most 500,000 entries, the same every time.

Paper section 3.2 takes MetaCLIP's: the numbers 0 to 99, WordNet's synset names, and from
Wikipedia frequent words, pairs of words by PMI and titles that are read often. Sources fill the
list in their order; an entry that came before, or without a letter or digit, is left out.
"""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TextIO

from dinotxt.config import to_json
from dinotxt.curation.config import CurationConfig, MetadataConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import fingerprint, read_table, table_paths
from dinotxt.curation.stage import StageFolder, StageReport, read_report
from dinotxt.curation.text.spacing import is_matchable
from dinotxt.curation.text.words import WordCounts, bigrams_by_pmi, count_words, ranked
from dinotxt.data.readers import expand
from dinotxt.errors import DataError, import_extra
from dinotxt.files import atomic_path
from dinotxt.results.skip import or_raise
from dinotxt.text.wordnet import wordnet_names

STAGE = "metadata"
ENTRIES = "entries.txt"

_NUMBERS = tuple(str(number) for number in range(100))
_YEARS = tuple(str(year) for year in range(1800, 2050))
_MASKED = re.compile(r"\d[\d.,]+")  # wordfreq writes 0 for each digit of a longer number
_CORPUS_MIN_COUNT, _CAPTIONS_MIN_COUNT = 100, 2
_LINES_AT_ONCE = 100_000
_LEAST_AN_HOUR = 50  # views; MetaCLIP's bound, which leaves out most lines of an hour
_ENGLISH = ("en", "en.m")
_PAGEVIEWS_FIELDS = 4  # domain, title, views, bytes


def needs_captions(config: MetadataConfig) -> bool:
    """Tell if a source is counted from the pool's captions."""
    return "captions" in config.sources or ("bigrams" in config.sources and not config.corpus)


def build_metadata(config: CurationConfig, engine: Engine) -> StageReport:
    """Write ``metadata/entries.txt``, one entry a line; the line number from 0 is its id.

    Raises:
        DataError: If a source is missing, or all of them give no entry.
    """
    settings = config.metadata
    after = ["pairs"] if needs_captions(settings) else []
    content = {**to_json(settings), "contents": _contents(settings)}
    folder = StageFolder(config.output, STAGE, config=content, after=after)
    if finished := folder.finished():
        return finished
    entries: dict[str, None] = {}
    composition: dict[str, int] = {}
    dropped = {"without a letter or digit": 0, "listed before": 0, "beyond the size": 0}
    for name, candidates in _Lists(config, engine).all():
        before = len(entries)
        _fill(entries, candidates, settings.size, dropped)
        composition[name] = len(entries) - before
    if not entries:
        raise DataError("The metadata is empty: give other `metadata.sources`.")
    path = folder.path / ENTRIES
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(entries) + "\n", "utf-8")
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=len(entries) + sum(dropped.values()),
            n_out=len(entries),
            reasons={reason: count for reason, count in dropped.items() if count},
            files=folder.relative([path]),
            details={"composition": composition},
        )
    )


def _contents(settings: MetadataConfig) -> dict[str, str]:
    """Return a digest of each of the user's files, so that a change of one is noticed."""
    named = [*(Path(source) for source in settings.sources), settings.wordnet, settings.corpus]
    files = [path for path in named if path is not None and path.exists()]
    if settings.titles is not None:
        files += expand(settings.titles, or_raise(None))
    return {str(path): fingerprint(path)[:16] for path in files}


def read_entries(path: Path) -> list[str]:
    """Read a list of entries, one a line."""
    return list(read_lines(path))


def _fill(
    entries: dict[str, None], candidates: Iterable[str], size: int, dropped: dict[str, int]
) -> None:
    for candidate in candidates:
        entry = " ".join(candidate.split())
        if not is_matchable(entry):
            dropped["without a letter or digit"] += 1
        elif entry in entries:
            dropped["listed before"] += 1
        elif len(entries) >= size:
            dropped["beyond the size"] += 1
        else:
            entries[entry] = None


class _Lists:
    """The sources of a configuration, each as an ordered list of candidates."""

    def __init__(self, config: CurationConfig, engine: Engine) -> None:
        self._config = config
        self._settings = config.metadata
        self._engine = engine
        self._counted: dict[str, WordCounts] = {}

    def all(self) -> Iterator[tuple[str, Iterable[str]]]:
        makers = {
            "wordnet": lambda: wordnet_names(self._settings.wordnet),
            "unigrams": self._unigrams,
            "bigrams": self._bigrams,
            "titles": self._titles,
            "captions": self._captions,
        }
        if "wordnet" in self._settings.sources:
            yield "numbers", _NUMBERS
        for source in self._settings.sources:
            maker = makers.get(source)
            yield source, maker() if maker else self._own(source)

    def _own(self, source: str) -> list[str]:
        if not Path(source).is_file():
            raise DataError(
                f"metadata.sources: {source!r} is neither a file nor one of wordnet, unigrams, "
                "bigrams, titles, captions."
            )
        return read_entries(Path(source))

    def _unigrams(self) -> list[str]:
        if self._settings.corpus is None:
            wordfreq = import_extra("wordfreq", extra="metadata")
            words = wordfreq.iter_wordlist("en", wordlist="large")
            return [*_NUMBERS, *_YEARS, *(word for word in words if not _MASKED.search(word))]
        least = self._settings.min_count or _CORPUS_MIN_COUNT
        return [word for word, count in ranked(self._corpus().words) if count >= least]

    def _bigrams(self) -> list[str]:
        least = self._settings.min_count
        if self._settings.corpus is None:
            return self._pairs(self._pool(), least or _CAPTIONS_MIN_COUNT)
        return self._pairs(self._corpus(), least or _CORPUS_MIN_COUNT)

    def _captions(self) -> list[str]:
        counts, least = self._pool(), self._settings.min_count or _CAPTIONS_MIN_COUNT
        words = [word for word, count in ranked(counts.words) if count >= least]
        return words + self._pairs(counts, least)

    def _pairs(self, counts: WordCounts, min_count: int) -> list[str]:
        return bigrams_by_pmi(counts, min_count=min_count, min_pmi=self._settings.min_pmi)

    def _titles(self) -> list[str]:
        if self._settings.titles is None:
            return []
        views = title_views(self._settings.titles)
        often = [(-count, title) for title, count in views.items()]
        return [title for count, title in sorted(often) if -count >= self._settings.min_views]

    def _corpus(self) -> WordCounts:
        assert self._settings.corpus is not None
        if "corpus" not in self._counted:
            self._counted["corpus"] = count_corpus(self._settings.corpus)
        return self._counted["corpus"]

    def _pool(self) -> WordCounts:
        if "pool" not in self._counted:
            total = WordCounts()
            root = self._config.output
            tables = table_paths(root, read_report(root, "pairs"))
            for counts in self._engine.map(partial(_count_table), tables):
                total.add(counts)
            self._counted["pool"] = total
        return self._counted["pool"]


def _count_table(path: Path) -> WordCounts:
    return count_words(read_table(path, ["caption"])["caption"].to_pylist())


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
