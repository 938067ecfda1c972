"""Words that may name a class, and the ones near a name or a region of pictures."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from dinotxt.errors import ConfigError
from dinotxt.inference.encoder import Encoder, Features
from dinotxt.inference.prompt_cache import kept_embeddings
from dinotxt.results.skip import Progress
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

    def encode(labels: Sequence[str], *, progress: Progress) -> Features:
        return encoder.dense_text(encoder.average_prompts(labels, patterns, progress=progress))

    return kept_embeddings(
        words,
        patterns,
        fingerprint=f"{encoder.fingerprint} patches",
        width=encoder.towers.patch_dim,
        encode=encode,
        progress=progress,
    )


def near_words(
    words: Sequence[str], text: Features, regions: Features, names: Features, count: int
) -> list[list[tuple[str, float]]]:
    """Return the words nearest to the name of each region, with their cosines to the region.

    Words that are far from the name fit the pictures of a search by chance alone.

    Args:
        words: The vocabulary.
        text: ``[V, Dp]``, the words.
        regions: ``[C, Dp]`` of length 1, the mean dense feature of each class.
        names: ``[C, Dp]`` of length 1, the name of each class.
        count: How many a region.

    Returns:
        The nearest to the region first.
    """
    chosen = []
    for region, name in zip(regions, names, strict=True):
        akin = np.array(_top(text @ name, count))
        cosines = text[akin] @ region
        order = _top(cosines, count)
        chosen.append([(words[akin[place]], float(cosines[place])) for place in order])
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
