"""Generated captions, metadata and vectors for the curation benchmarks."""

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.text.wordnet.names import wordnet_names

_CHUNK = 20_000


def make_entries(count: int) -> list[str]:
    """Return WordNet names, frequent words and pairs of these, as the real metadata is."""
    words = _frequent_words()
    entries = dict.fromkeys([*wordnet_names(), *words])
    generator = random.Random(0)
    head = words[:20_000]
    while len(entries) < count:
        entries[f"{generator.choice(head)} {generator.choice(head)}"] = None
    return list(entries)[:count]


def make_captions(count: int, seed: int = 0) -> list[str]:
    """Return captions of 6 to 18 words, words drawn as often as they are used (Zipf)."""
    words = np.array(_frequent_words()[:30_000])
    weights = 1.0 / (np.arange(len(words)) + 5.0)
    generator = np.random.default_rng(seed)
    lengths = generator.integers(6, 19, count)
    drawn = generator.choice(words, size=int(lengths.sum()), p=weights / weights.sum())
    ends = np.cumsum(lengths)
    marks = generator.random(count) < 0.3
    captions = []
    for start, end, marked in zip(ends - lengths, ends, marks, strict=True):
        text = " ".join(drawn[start:end])
        captions.append(f"{text}." if marked else text)
    return captions


def make_vectors(path: Path, rows: int, width: int, groups: int = 5000) -> None:
    """Write float16 vectors in groups whose sizes fall like a power law."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((groups, width)).astype(np.float32)
    weights = 1.0 / (np.arange(groups) + 10.0)
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, width))
    for start in range(0, rows, _CHUNK):
        size = min(_CHUNK, rows - start)
        chosen = generator.choice(groups, size=size, p=weights / weights.sum())
        noise = generator.standard_normal((size, width), dtype=np.float32)
        target[start : start + size] = centers[chosen] + 0.7 * noise
    target.flush()


def make_points(rows: int, width: int, groups: int) -> NDArray[np.float32]:
    """Return vectors in memory."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((groups, width)).astype(np.float32)
    noise = generator.standard_normal((rows, width), dtype=np.float32)
    return centers[generator.integers(0, groups, rows)] + noise


def _frequent_words() -> list[str]:
    import wordfreq

    return list(wordfreq.iter_wordlist("en", wordlist="large"))
