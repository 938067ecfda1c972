"""Dumps: streamed, compressed or not, in the forms that Wikimedia publishes."""

import gzip
from pathlib import Path

import pytest

from dinotxt.curation.text import metadata as dumps
from dinotxt.curation.text.metadata import count_corpus, read_lines, title_views
from dinotxt.errors import DataError

HOUR = """en Main_Page 900 0
en Eiffel_Tower 61 0
en.m Eiffel_Tower 70 0
en Quiet_page 49 0
de Eiffelturm 800 0
en Talk:Dog 300 0
en.b Cooking 300 0
en broken
"""


def test_hours_of_page_views_add_up_over_files(tmp_path: Path) -> None:
    for hour in range(2):
        with gzip.open(tmp_path / f"pageviews-{hour}.gz", "wt", encoding="utf-8") as stream:
            stream.write(HOUR)
    views = title_views(str(tmp_path / "pageviews-*.gz"))
    assert views == {"Main Page": 1800, "Eiffel Tower": 262}


def test_titles_with_their_views_need_no_other_column(tmp_path: Path) -> None:
    (tmp_path / "titles.tsv").write_text("New_York\t70\nNew York\t5\nUser:Me\t9\nnone\tmany\n")
    assert title_views(str(tmp_path / "titles.tsv")) == {"New York": 75}


def test_a_corpus_is_counted_in_pieces_like_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.write("a dog , a cat\na dog\n\na bird\n")
    whole = count_corpus(path)
    monkeypatch.setattr(dumps, "_LINES_AT_ONCE", 1)
    assert count_corpus(path) == whole
    assert whole.bigrams["a dog"] == 2
    assert "dog a" not in whole.bigrams


@pytest.mark.parametrize("content", [b"\x1f\x8b torn", gzip.compress(b"dog" * 9999)[:-20]])
def test_a_damaged_dump_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pages.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pages\.gz"):
        list(read_lines(path))
