"""The metadata: sources, order, caps, bad entries."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import InProcess
from dinotxt.curation.pool.pairs import collect_pairs
from dinotxt.curation.stage import StageReport
from dinotxt.curation.text.metadata import build_metadata, needs_captions, read_entries
from dinotxt.errors import ConfigError, DataError


def _config(tmp_path: Path, **metadata: Any) -> CurationConfig:
    content = {"input": str(tmp_path / "pool"), "output": tmp_path / "out", "metadata": metadata}
    return load_config(CurationConfig, content)


def _build(tmp_path: Path, **metadata: Any) -> tuple[StageReport, list[str]]:
    config = _config(tmp_path, **metadata)
    if needs_captions(config.metadata):
        collect_pairs(config, InProcess())
    report = build_metadata(config, InProcess())
    return report, read_entries(tmp_path / "out" / "metadata" / "entries.txt")


def test_numbers_and_wordnet_fill_the_list_first_and_the_cap_holds(tmp_path: Path) -> None:
    report, entries = _build(tmp_path, sources=["wordnet", "unigrams"], size=90_000)
    assert entries[:3] == ["0", "1", "2"]
    assert len(entries) == len(set(entries)) == report.n_out == 90_000
    assert report.details["composition"]["numbers"] == 100
    assert sum(report.details["composition"].values()) == 90_000
    assert report.n_in - report.n_out == sum(report.reasons.values())


def test_numbers_that_wordfreq_masks_are_no_entries(tmp_path: Path) -> None:
    """wordfreq 3.1.1 writes 0 for every digit of a number of two digits or more."""
    words = list(pytest.importorskip("wordfreq").iter_wordlist("en", wordlist="large"))
    assert {"00", "0,000", "00th", "0000s"} <= set(words)
    _, entries = _build(tmp_path, sources=["unigrams"])
    found = set(entries)
    assert not {"00", "0,000", "00th", "0000s", "0.0"} & found
    assert {"0", "7", "99", "1912", "2024", "4th", "mp3", "dog"} <= found
    single = {word for word in words if sum(map(str.isdigit, word)) < 2 and word != "0"}
    assert len(single - found) == len([word for word in single if not any(map(str.isalnum, word))])


def test_bad_and_repeated_entries_are_dropped_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("dog\n\n,\n  new   york \ndog\n犬\n")
    report, entries = _build(tmp_path, sources=[str(path)])
    assert entries == ["dog", "new york", "犬"]
    assert report.reasons == {"listed before": 1, "without a letter or digit": 2}


def test_everything_may_come_from_the_captions(tmp_path: Path, pool: Path) -> None:
    del pool
    report, entries = _build(tmp_path, sources=["captions"], min_pmi=0.5)
    assert {"dog", "picture", "again"} <= set(entries)
    assert "red car" in entries
    assert report.details["composition"] == {"captions": len(entries)}


def test_corpus_and_titles_come_from_files(tmp_path: Path) -> None:
    corpus, titles = tmp_path / "corpus.txt", tmp_path / "titles.tsv"
    corpus.write_text("new york is new york\n" * 3 + "a b\nrare\n")
    titles.write_text("Eiffel_Tower\t60\nEiffel Tower\t40\nTalk:Dog\t900\nQuiet\t3\nno views\n")
    report, entries = _build(
        tmp_path, sources=["unigrams", "bigrams", "titles"], corpus=str(corpus),
        titles=str(titles), min_count=4, min_pmi=1.0,
    )  # fmt: skip
    assert entries == ["new", "york", "new york", "Eiffel Tower"]
    assert report.details["composition"] == {"unigrams": 2, "bigrams": 1, "titles": 1}


def test_titles_without_a_file_are_none_and_the_report_says_so(tmp_path: Path) -> None:
    report, _ = _build(tmp_path, sources=["wordnet", "titles"])
    assert report.details["composition"]["titles"] == 0


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_list_that_is_no_text_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"own\.txt"):
        _build(tmp_path, sources=[str(path)])


def test_an_empty_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text(",\n")
    with pytest.raises(DataError, match="empty"):
        _build(tmp_path, sources=[str(tmp_path / "own.txt")])


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, pool: Path) -> None:
    del pool
    _build(tmp_path / ".", sources=["wordnet", "captions"])
    first = (tmp_path / "out" / "metadata" / "entries.txt").read_bytes()
    config = _config(tmp_path, sources=["wordnet", "captions"])
    again = replace(config, output=tmp_path / "again")
    collect_pairs(again, InProcess())
    build_metadata(again, InProcess())
    assert (tmp_path / "again" / "metadata" / "entries.txt").read_bytes() == first


def test_a_list_that_changed_is_refused_with_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("dog\n")
    _build(tmp_path, sources=[str(path)])
    path.write_text("dog\ncat\n")
    with pytest.raises(ConfigError, match=r"own\.txt: [0-9a-f]{16} -> [0-9a-f]{16}"):
        _build(tmp_path, sources=[str(path)])
