"""Label embeddings on disk, so that a label set is embedded once for each model.

One ``.npy`` for some thousands of prompts, named by the hash of everything it depends on: what is
done survives a kill. A damaged file counts as absent and is written again; the files that were
not used for longest make room for new ones.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.files import atomic_path, cache_dir
from dinotxt.results.skip import Progress

MAX_BYTES = 256 << 20
_PROMPTS_AT_ONCE = 4096
_LOGGER = logging.getLogger(__name__)


class Encode(Protocol):
    """Embeds labels; tells ``progress`` of its prompts as (done, total)."""

    def __call__(self, labels: Sequence[str], *, progress: Progress) -> NDArray[np.float32]:
        """Return ``[C, E]``."""


def kept_embeddings(
    labels: Sequence[str],
    templates: Sequence[str],
    *,
    fingerprint: str,
    width: int,
    encode: Encode,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the embeddings ``[C, width]`` of labels: those on disk, and the rest from ``encode``.

    Args:
        labels: At least one.
        templates: At least one.
        fingerprint: Of the model.
        width: Numbers an embedding.
        encode: Embeds the labels that are not on disk, a part at a time.
        progress: Called with (done, total) labels.
    """
    step = max(1, _PROMPTS_AT_ONCE // len(templates))
    parts = []
    for start in range(0, len(labels), step):
        part = labels[start : start + step]

        def report(done: int, total: int, *, start: int = start, size: int = len(part)) -> None:
            if progress is not None:
                progress(start + size * done // total, len(labels))

        key = cache_key(fingerprint, part, templates)
        embeddings = read_embeddings(key, (len(part), width))
        if embeddings is None:
            embeddings = encode(part, progress=report)
            write_embeddings(key, embeddings)
        else:
            report(1, 1)
        parts.append(embeddings)
    return np.concatenate(parts)


def cache_key(fingerprint: str, labels: Sequence[str], templates: Sequence[str]) -> str:
    """Return the name of a set: the hash of the model, the labels and the templates."""
    content = json.dumps([fingerprint, list(labels), list(templates)])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def read_embeddings(key: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return the embeddings ``[C, E]`` of a set, or None if they are absent or damaged."""
    path = _path(key)
    try:
        array = np.load(path, allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
        return None
    return np.asarray(array, dtype=np.float32)


def write_embeddings(key: str, embeddings: NDArray[np.float32]) -> None:
    """Keep the embeddings of a set; a full or read-only disk only costs time."""
    path = _path(key)
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, embeddings)
        _make_room(path)
    except OSError as error:
        _LOGGER.warning("label embeddings are not kept: %s", error)


def _path(key: str) -> Path:
    return cache_dir() / "labels" / f"{key}.npy"


def _make_room(newest: Path) -> None:
    """Delete the sets that were not used for longest, until the rest fits."""
    sets = [(path.stat(), path) for path in newest.parent.glob("*.npy") if path != newest]
    total = newest.stat().st_size + sum(stat.st_size for stat, _ in sets)
    for stat, path in sorted(sets, key=lambda entry: entry[0].st_mtime_ns):
        if total <= MAX_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
