"""Words that may name a class, and the ones nearest to a region of pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dinotxt.errors import ConfigError
from dinotxt.inference.encoder import Encoder, Features, Progress
from dinotxt.text.wordnet import wordnet_nouns

_TEMPLATES = "simple"  # one prompt a word: the vocabulary is large


def read_vocabulary(path: Path | None) -> tuple[str, ...]:
    """Return the words of a file, one a line; None takes WordNet's nouns.

    Raises:
        ConfigError: If the file cannot be read or has no word.
    """
    if path is None:
        return tuple(wordnet_nouns())
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"The vocabulary {path} cannot be read: {error}.") from None
    words = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not words:
        raise ConfigError(f"The vocabulary {path} is empty: give one word a line.")
    return words


def nearest_words(
    encoder: Encoder,
    words: Sequence[str],
    regions: Features,
    count: int,
    *,
    progress: Progress | None = None,
) -> list[list[tuple[str, float]]]:
    """Return the words nearest to each region in the space of texts, with their cosines.

    Half of them are nearest by cosine (dino.txt, section 4.5), half by what their cosine is above
    that of the closest other region: the former may be near to everything.

    Args:
        encoder: The model.
        words: The vocabulary.
        regions: ``[C, Dp]`` of length 1, the mean dense feature of each class.
        count: How many a region.
        progress: Called with (done, total) words.
    """
    text = encoder.dense_text(encoder.encode_labels(words, _TEMPLATES, progress=progress))
    near = regions @ text.T
    chosen = []
    for row, values in enumerate(near):
        others = np.delete(near, row, axis=0)
        margin = values - others.max(axis=0) if len(others) else values
        places = _merged(_top(values, count), _top(margin, count), count)
        chosen.append([(words[place], float(values[place])) for place in places])
    return chosen


def _top(values: Features, count: int) -> list[int]:
    return [int(place) for place in np.argsort(-values, kind="stable")[:count]]


def _merged(first: Sequence[int], second: Sequence[int], count: int) -> list[int]:
    """Return the heads of two lists in turn, each entry once."""
    turns = [place for pair in zip(first, second, strict=True) for place in pair]
    return list(dict.fromkeys(turns))[:count]
