"""Generated captions, metadata, pools and vectors for the curation benchmarks."""

import io
import json
import random
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.pool.files import write_table
from dinotxt.curation.stage import StageFolder, StageReport
from dinotxt.text.wordnet.names import wordnet_names

_CHUNK = 20_000
_TABLE = 10_000  # captions of a table, as `dinotxt curate` writes them


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
    words = _frequent_words()[:30_000]
    weights = 1.0 / (np.arange(len(words)) + 5.0)
    generator = np.random.default_rng(seed)
    lengths = generator.integers(6, 19, count)
    places = generator.choice(len(words), size=int(lengths.sum()), p=weights / weights.sum())
    drawn = [words[place] for place in places.tolist()]
    ends = np.cumsum(lengths)
    marks = generator.random(count) < 0.3
    captions = []
    for start, end, marked in zip(ends - lengths, ends, marks, strict=True):
        text = " ".join(drawn[start:end])
        captions.append(f"{text}." if marked else text)
    return captions


def make_tar(path: Path, count: int) -> None:
    """Write pairs as a tar: a picture of 8 kB (never decoded) and one caption each."""
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number, caption in enumerate(make_captions(count)):
            record = json.dumps({"caption": caption}).encode()
            for suffix, content in (("jpg", generator.bytes(8192)), ("json", record)):
                info = tarfile.TarInfo(f"{number:08d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def make_pool(root: Path, count: int) -> None:
    """Write captions, all different, as tables of the kind that `dinotxt curate` reads into."""
    folder = StageFolder(root, "pairs", config={})
    folder.finished()
    paths = []
    for number, start in enumerate(range(0, count, _TABLE)):
        captions = make_captions(min(_TABLE, count - start), seed=number)
        ids = np.random.default_rng(number).integers(0, 2**64, len(captions), dtype=np.uint64)
        paths.append(folder.path / f"{number:05d}.parquet")
        write_table(paths[-1], {"pair_id": ids, "caption": captions})
    _finish(folder, count, paths)


def make_metadata(root: Path, count: int) -> None:
    """Write entries as `dinotxt curate metadata` leaves them."""
    folder = StageFolder(root, "metadata", config={})
    folder.finished()
    path = folder.path / "entries.txt"
    path.write_text("\n".join(make_entries(count)) + "\n", "utf-8")
    _finish(folder, count, [path])


def _finish(folder: StageFolder, count: int, paths: list[Path]) -> None:
    folder.finish(
        StageReport(
            stage=folder.name, n_in=count, n_out=count, reasons={}, files=folder.relative(paths)
        )
    )


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


@cache
def _frequent_words() -> list[str]:
    import wordfreq

    return list(wordfreq.iter_wordlist("en", wordlist="large"))
