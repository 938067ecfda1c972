"""Words, pairs of words and their PMI."""

import math
from collections import Counter

from dinotxt.curation.text.words import WordCounts, bigrams_by_pmi, count_words, ranked


def test_words_are_what_matching_sees() -> None:
    counts = count_words(["A dog, a dog.", "hot dog"])
    assert counts.words == Counter({"dog": 3, "A": 1, "a": 1, "hot": 1})
    assert counts.bigrams == Counter({"A dog": 1, "a dog": 1, "hot dog": 1})


def test_a_mark_between_words_parts_them() -> None:
    assert "dog cat" not in count_words(["dog, cat"]).bigrams


def test_ranking_breaks_ties_by_text() -> None:
    assert ranked(Counter({"b": 2, "a": 2, "c": 3})) == [("c", 3), ("a", 2), ("b", 2)]


def test_pmi_prefers_words_that_come_together() -> None:
    counts = count_words(["new york", "new york", "the dog", "the cat", "the york"])
    pairs = bigrams_by_pmi(counts, min_count=1, min_pmi=0.1)
    assert pairs[0] == "new york"
    pmi = math.log2(2 * 10 / (2 * 3))
    assert bigrams_by_pmi(counts, min_count=2, min_pmi=pmi - 1e-9) == ["new york"]
    assert bigrams_by_pmi(counts, min_count=2, min_pmi=pmi + 1e-9) == []


def test_counts_add_up() -> None:
    total = WordCounts()
    total.add(count_words(["a b"]))
    total.add(count_words(["a b", "a"]))
    assert total.words["a"] == 3
    assert total.bigrams["a b"] == 2
