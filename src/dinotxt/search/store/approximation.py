"""The approximate index that a large index keeps beside its vectors.

It is not made anew at every update. It keeps the ids with which it was made, and each base has a
map from ids to its own rows: -1 where the picture is gone. Rows that no id stands for are
searched exhaustively. When a tenth has changed, it is made anew.
"""

import logging
from collections.abc import Sequence

import numpy as np

from dinotxt.errors import BackendError, DataError
from dinotxt.files import atomic_path
from dinotxt.results.skip import Progress
from dinotxt.search.engines import (
    ApproximateEngine,
    ExactIndex,
    FaissIndex,
    Index,
    Rows,
    build_approximate,
    choose,
    read_approximate,
)
from dinotxt.search.store.segment import Segment
from dinotxt.search.store.store import Approximation, Store
from dinotxt.search.store.table import Place

logger = logging.getLogger(__name__)

_CHANGED = 0.1


def open_index(store: Store, segment: Segment) -> Index:
    """Return what searches the base of an index; exact where there is nothing else.

    Raises:
        DataError: If a file of the approximate index is missing or damaged.
    """
    kept = store.manifest.approximation
    if kept is None:
        return ExactIndex(segment.vectors)
    places = _read_places(store, kept)
    store.look_at([store.approximate_path(kept.number).name])
    try:
        index = read_approximate(store.approximate_path(kept.number))
    except BackendError as error:
        logger.warning("Searching every vector instead: %s", error)
        return ExactIndex(segment.vectors)
    if index.ntotal != len(places) or index.d != segment.vectors.shape[1]:
        raise DataError(f"{store.folder} is damaged (its graph does not fit): index again.")
    if len(places) and not -1 <= places.min() <= places.max() < len(segment):
        raise DataError(f"{store.folder} is damaged (its graph does not fit): index again.")
    return FaissIndex(index, kept.engine, places, segment.vectors)


def carry_over(store: Store, base: Sequence[Place]) -> None:
    """Write the map from the approximate index to the next base, before that is committed.

    Args:
        store: The index.
        base: Where the row of each of the next base's rows comes from.
    """
    kept = store.manifest.approximation
    if kept is None:
        return
    old = _read_places(store, kept)
    alive = np.flatnonzero(old >= 0)
    rows_to_ids = dict(zip(old[alive].tolist(), alive.tolist(), strict=True))
    new = np.full(len(old), -1, np.int64)
    for row, place in enumerate(base):
        if place.segment == store.manifest.base and place.row in rows_to_ids:
            new[rows_to_ids[place.row]] = row
    _write_places(store, kept.number, store.next_base, new)


def refresh(store: Store, progress: Progress) -> None:
    """Make, renew or drop the approximate index of a finished base, as its size asks for.

    Args:
        store: The index, its base committed.
        progress: Called with the numbers of vectors done and to do where one is made.

    Raises:
        BackendError: If it was asked for by name and faiss is not installed.
    """
    segment, manifest = store.base(), store.manifest
    assert segment is not None
    engine = choose(manifest.engine, len(segment))
    if engine is None:
        if manifest.approximation is not None:
            store.commit_approximation(None)
        return
    if _is_fresh(store, engine, len(segment)):
        return
    try:
        _make(store, segment, engine, progress)
    except BackendError as error:
        if manifest.engine != "auto":
            raise
        logger.warning("Every search will read all %d vectors: %s", len(segment), error)


def _make(store: Store, segment: Segment, engine: ApproximateEngine, progress: Progress) -> None:
    kept = store.manifest.approximation
    number = kept.number + 1 if kept else 1
    with atomic_path(store.approximate_path(number)) as temporary:
        build_approximate(segment.vectors, engine, temporary, progress=progress)
    size = len(segment)
    _write_places(store, number, store.manifest.base, np.arange(size, dtype=np.int64))
    store.commit_approximation(Approximation(engine=engine, number=number, size=size))


def _is_fresh(store: Store, engine: ApproximateEngine, num_rows: int) -> bool:
    kept = store.manifest.approximation
    if kept is None or kept.engine != engine:
        return False
    alive = int((_read_places(store, kept) >= 0).sum())
    return (num_rows - alive) + (kept.size - alive) <= _CHANGED * kept.size


def _read_places(store: Store, kept: Approximation) -> Rows:
    path = store.places_path(kept.number, store.manifest.base)
    store.look_at([path.name])
    try:
        places: Rows = np.load(path)
        if places.dtype != np.int64 or places.shape != (kept.size,):
            raise ValueError(f"{path.name} holds {places.dtype} {list(places.shape)}")
    except (OSError, ValueError, EOFError) as error:
        message = f"{store.folder} is damaged ({error}): delete it and index again."
        raise DataError(message) from error
    return places


def _write_places(store: Store, number: int, base: str, places: Rows) -> None:
    with (
        atomic_path(store.places_path(number, base)) as temporary,
        temporary.open("wb") as stream,
    ):
        np.save(stream, places)
