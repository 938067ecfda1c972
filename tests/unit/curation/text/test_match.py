"""Both engines against DuckDB's substring test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotxt.curation.config import MatchEngine, Normalize
from dinotxt.curation.text import match as matching
from dinotxt.curation.text.match import Matches, open_matcher
from dinotxt.curation.text.spacing import spacing

ENTRIES = [
    "dog",
    "a dog",
    "black dog",
    "dog ,",
    "new york",
    "york",
    "New York",
    "é",
    "t-shirt",
    "7",
]
CAPTIONS = [
    "a black dog, in new york",
    "A dog in New York.",
    "dogs and hotdogs",
    "black dog dog black dog",
    "black  dog",
    '(dog) "dog" dog\'s t-shirt',
    "tab\tdog\nnew\ryork",
    "",
    ",",
    "é 犬",
]
ENGINES: list[MatchEngine] = ["ahocorasick", "ngram"]


def _oracle(captions: list[str], entries: list[str]) -> list[list[int]]:
    """Match by SQL: the spaced entry is a substring of the spaced caption."""
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.execute("create table captions (id int, body varchar)")
    connection.execute("create table entries (id int, body varchar)")
    connection.executemany(
        "insert into captions values (?, ?)",
        [(i, spacing(text)) for i, text in enumerate(captions)],
    )
    connection.executemany(
        "insert into entries values (?, ?)", [(i, f" {text} ") for i, text in enumerate(entries)]
    )
    rows = connection.execute(
        "select c.id, e.id from captions c join entries e on contains(c.body, e.body) order by all"
    ).fetchall()
    found: list[list[int]] = [[] for _ in captions]
    for caption, entry in rows:
        found[caption].append(entry)
    return found


def _lists(matches: Matches) -> list[list[int]]:
    return [matches[row].tolist() for row in range(len(matches))]


@pytest.mark.parametrize("engine", ENGINES)
def test_matches_are_those_of_a_substring_test_in_sql(engine: MatchEngine) -> None:
    matches = open_matcher(ENTRIES, engine=engine).match(CAPTIONS)
    assert _lists(matches) == _oracle(CAPTIONS, ENTRIES)


@pytest.mark.parametrize("engine", ENGINES)
def test_more_captions_than_a_batch_are_matched_like_few(
    engine: MatchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_WORDS_BATCH", 7)
    matcher = open_matcher(ENTRIES, engine=engine)
    many = CAPTIONS * 30
    assert _lists(matcher.match(many)) == _lists(matcher.match(CAPTIONS)) * 30


@settings(max_examples=60)
@given(
    st.lists(st.text(alphabet="ab ,", max_size=14), max_size=80),
    st.lists(st.text(alphabet="ab ,", min_size=1, max_size=5), min_size=1, max_size=8, unique=True),
    st.sampled_from(["metaclip", "casefold"]),
)
def test_both_engines_find_the_same(
    captions: list[str], entries: list[str], normalize: Normalize
) -> None:
    one, two = (
        open_matcher(entries, engine=engine, normalize=normalize).match(captions)
        for engine in ENGINES
    )
    assert _lists(one) == _lists(two)


@pytest.mark.parametrize("engine", ENGINES)
def test_casefold_finds_entries_in_any_case_and_counts_the_first_spelling(
    engine: MatchEngine,
) -> None:
    matcher = open_matcher(["New York", "new york"], engine=engine, normalize="casefold")
    assert _lists(matcher.match(["NEW YORK"])) == [[0]]
    plain = open_matcher(["New York", "new york"], engine=engine)
    assert _lists(plain.match(["in new york"])) == [[1]]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_entry_reaches_over_the_end_of_a_caption(engine: MatchEngine) -> None:
    entries = ["new york city", "york new", "york \n new", "\n", "york"]
    captions = ["in new york", "new york", "new", "york city", "new\nyork city"]
    found = _lists(open_matcher(entries, engine=engine).match(captions))
    assert found == [[4], [4], [], [4], [0, 4]]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_captions_give_no_matches(engine: MatchEngine) -> None:
    matches = open_matcher(ENTRIES, engine=engine).match([])
    assert len(matches) == 0
    assert matches.entries.tolist() == []


def test_counts_add_up_captions_by_entry() -> None:
    matches = Matches(np.array([0, 2, 2], np.int32), np.array([0, 2, 3, 3]))
    assert matches.counts(4).tolist() == [1, 0, 2, 0]
