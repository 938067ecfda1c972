"""What of an index can be searched, and whether all of it is as it was written."""

from pathlib import Path

import numpy as np

from dinotxt.data.pictures import sort_key
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip
from dinotxt.search.store.approximation import open_index
from dinotxt.search.store.segment import Segment, record_lines
from dinotxt.search.store.store import Store
from dinotxt.search.store.table import Table


def safe_state(store: Store) -> Segment | None:
    """Return what can be searched: the finished state, or of a first one what is safe so far.

    Raises:
        DataError: If a file is missing or damaged.
    """
    if store.manifest.generation or not store.manifest.num_pieces:
        return store.base()
    table = Table(store)
    places = sorted((table[path] for path in table), key=lambda place: sort_key(place.record.path))
    readable = [place for place in places if place.row >= 0]
    none = np.empty((0, store.manifest.dim), np.float32)
    vectors = np.concatenate([none, *table.vectors(readable)])
    return Segment(store.folder, vectors, record_lines([place.record for place in places]))


def verify_index(folder: str | Path) -> tuple[int, list[Skip]]:
    """Check an index wholly: every file that counts against its SHA-256, then what it says.

    Returns:
        How many files were checked, and what is damaged.

    Raises:
        DataError: If there is no index, or its manifest cannot be understood.
    """
    store = Store.open(Path(folder))
    found = [(store.folder / name, wrong) for name, wrong in store.verify()]
    damaged = [Skip(str(path), wrong) for path, wrong in found if wrong]
    if damaged:
        return len(found), damaged
    try:
        state = safe_state(store)
        if state is not None:
            state.check_finite()
            for _ in (*state.records(), *state.unreadable()):
                pass
            if store.manifest.generation:
                open_index(store, state)
    except DataError as error:
        damaged.append(Skip(str(store.folder), str(error)))
    return len(found), damaged
