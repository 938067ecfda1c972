"""Words that may name a class, and the ones nearest to a region of pictures."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from dinotxt.errors import ConfigError
from dinotxt.inference.encoder import Encoder, Features, Progress
from dinotxt.inference.prompt_cache import cache_key, read_embeddings, write_embeddings
from dinotxt.text.wordnet import wordnet_nouns

_TEMPLATES = "simple"  # one prompt a word: the vocabulary is large
_WORDS_AT_ONCE = 512
_NEAR_NAME = 50  # words that are tried at all: others fit the pictures of the search by chance


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


def encode_words(
    encoder: Encoder, words: Sequence[str], *, progress: Progress | None = None
) -> Features:
    """Return what patches compare with for each word, ``[V, Dp]``; kept on disk.

    Args:
        encoder: The model.
        words: The vocabulary.
        progress: Called with (done, total) words.
    """
    patterns = encoder.defaults.find_templates(_TEMPLATES)
    key = cache_key(f"{encoder.fingerprint} patches", words, patterns)
    kept = read_embeddings(key, (len(words), encoder.towers.patch_dim))
    if kept is not None:
        return kept
    parts = []
    for start in range(0, len(words), _WORDS_AT_ONCE):
        part = words[start : start + _WORDS_AT_ONCE]
        parts.append(encoder.dense_text(encoder.average_prompts(part, patterns)))
        if progress is not None:
            progress(start + len(part), len(words))
    text = np.concatenate(parts)
    write_embeddings(key, text)
    return text


def nearest_words(
    words: Sequence[str], text: Features, regions: Features, names: Features, count: int
) -> list[list[tuple[str, float]]]:
    """Return the words nearest to each region among those near its name, with their cosines.

    Half of them are nearest by cosine (dino.txt, section 4.5), half by what their cosine is above
    that of the closest other region: the former may be near to everything.

    Args:
        words: The vocabulary.
        text: ``[V, Dp]``, the words.
        regions: ``[C, Dp]`` of length 1, the mean dense feature of each class.
        names: ``[C, Dp]`` of length 1, the name of each class.
        count: How many a region.
    """
    near = regions @ text.T
    chosen = []
    for row, values in enumerate(near):
        others = np.delete(near, row, axis=0)
        margin = values - others.max(axis=0) if len(others) else values
        akin = np.array(_top(text @ names[row], _NEAR_NAME))
        first, second = (akin[_top(value[akin], count)].tolist() for value in (values, margin))
        places = _merged(first, second, count)
        chosen.append([(words[place], float(values[place])) for place in places])
    return chosen


def nearest_names(
    words: Sequence[str],
    near: Features,
    classes: Sequence[int],
    names: Sequence[str],
    free: Collection[int],
) -> tuple[str, ...]:
    """Return the names with the nearest word in place of each free one; no word is there twice.

    Args:
        words: The vocabulary.
        near: ``[C, V]``, the cosines of the classes that occur with the words.
        classes: Their numbers.
        names: The names of all classes.
        free: The classes that get another name.
    """
    chosen = list(names)
    for label, values in zip(classes, near, strict=True):
        if label in free:
            order = (words[place] for place in _top(values, len(names)))
            chosen[label] = next((word for word in order if word not in chosen), names[label])
    return tuple(chosen)


def _top(values: Features, count: int) -> list[int]:
    return [int(place) for place in np.argsort(-values, kind="stable")[:count]]


def _merged(first: Sequence[int], second: Sequence[int], count: int) -> list[int]:
    """Return the heads of two lists in turn, each entry once."""
    turns = [place for pair in zip(first, second, strict=True) for place in pair]
    return list(dict.fromkeys(turns))[:count]
