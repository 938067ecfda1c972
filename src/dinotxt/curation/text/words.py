"""Words and pairs of words counted in captions or in a corpus, and pairs ranked by their PMI."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from dinotxt.curation.text.spacing import is_matchable, spacing

_MAX_KEPT = 2_000_000


@dataclass(slots=True)
class WordCounts:
    """Counts of words and of neighbouring words.

    Attributes:
        words: Count by word.
        bigrams: Count by two words joined by a space.
    """

    words: Counter[str] = field(default_factory=Counter)
    bigrams: Counter[str] = field(default_factory=Counter)

    def add(self, other: "WordCounts") -> None:
        """Add other counts; beyond two million kinds, the rarest are forgotten."""
        for mine, theirs in ((self.words, other.words), (self.bigrams, other.bigrams)):
            mine.update(theirs)
            if len(mine) > 2 * _MAX_KEPT:
                kept = ranked(mine)[:_MAX_KEPT]
                mine.clear()
                mine.update(dict(kept))


def count_words(texts: Iterable[str]) -> WordCounts:
    """Count words as matching sees them: what stands between spaces and holds a letter or digit."""
    counts = WordCounts()
    for text in texts:
        words = [word if is_matchable(word) else "" for word in spacing(text)[1:-1].split(" ")]
        counts.words.update(filter(None, words))
        counts.bigrams.update(f"{one} {two}" for one, two in pairwise(words) if one and two)
    return counts


def ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return (text, count) from the most to the least frequent; ties by text."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def bigrams_by_pmi(counts: WordCounts, *, min_count: int, min_pmi: float) -> list[str]:
    """Return the pairs of words that stand together more often than by chance.

    Args:
        counts: From `count_words`.
        min_count: The least count of a pair.
        min_pmi: The least ``log2(p(xy) / (p(x) p(y)))``.

    Returns:
        The pairs from the highest PMI; ties by count, then by text.
    """
    total = counts.words.total()
    scored = []
    for pair, count in counts.bigrams.items():
        if count < min_count:
            continue
        one, two = pair.split(" ")
        pmi = math.log2(count * total / (counts.words[one] * counts.words[two]))
        if pmi >= min_pmi:
            scored.append((-pmi, -count, pair))
    return [pair for _, _, pair in sorted(scored)]
