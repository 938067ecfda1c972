"""Pairs whose id came before in the pool: the first keeps it, the others are dropped."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.engine import Engine
from dinotxt.curation.tables import read_table, write_table

_PAIRS_A_PART = 8_000_000


def drop_duplicates(folder: Path, tables: list[str], num_pairs: int, engine: Engine) -> int:
    """Rewrite the tables that hold repeated ids; the hash space is searched part by part.

    Args:
        folder: Holds the tables ``NAME.parquet``.
        tables: Their names, in order.
        num_pairs: Pairs in all.
        engine: Where the parts are searched.

    Returns:
        How many pairs are left.
    """
    rows_left: int = sum(engine.map(partial(_sort_ids, folder=folder), tables))
    parts = -(-num_pairs // _PAIRS_A_PART) or 1
    search = partial(_repeated, folder=folder, tables=tuple(tables), parts=parts)
    repeated: dict[int, list[NDArray[np.int32]]] = {}
    for owners, rows in engine.map(search, range(parts)):
        for owner in np.unique(owners):
            repeated.setdefault(int(owner), []).append(rows[owners == owner])
    for owner, found in repeated.items():
        again = np.concatenate(found)
        _rewrite(folder / f"{tables[owner]}.parquet", again)
        rows_left -= len(again)
    shutil.rmtree(folder / "ids")
    return rows_left


def _sort_ids(name: str, *, folder: Path) -> int:
    ids = read_table(folder / f"{name}.parquet", ["pair_id"])["pair_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    path = _ids_path(folder, name)
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.stack([ids[order], order.astype(np.uint64)]))  # made anew by every run
    return len(ids)


def _repeated(
    part: int, *, folder: Path, tables: tuple[str, ...], parts: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the table and the row of each id of a part that came before."""
    low = part * (1 << 64) // parts
    high = (part + 1) * (1 << 64) // parts - 1
    pieces = []
    for name in tables:
        stored: NDArray[np.uint64] = np.load(_ids_path(folder, name), mmap_mode="r")
        first = int(np.searchsorted(stored[0], np.uint64(low)))
        last = int(np.searchsorted(stored[0], np.uint64(high), side="right"))
        pieces.append(stored[:, first:last])
    ids = np.concatenate([piece[0] for piece in pieces])
    ordered = np.sort(ids)  # without their places: most pools repeat no id, or few
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(several):
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    among = np.flatnonzero(np.isin(ids, several))
    among = among[np.argsort(ids[among], kind="stable")]  # the table that comes first stays first
    again = among[1:][ids[among[1:]] == ids[among[:-1]]]
    owners = np.repeat(np.arange(len(tables)), [piece.shape[1] for piece in pieces])
    rows = np.concatenate([piece[1] for piece in pieces])
    return owners[again].astype(np.int32), rows[again].astype(np.int32)


def _rewrite(path: Path, rows: NDArray[np.int32]) -> None:
    table = read_table(path)
    keep = np.ones(len(table), dtype=bool)
    keep[rows] = False
    kept = table.filter(keep)
    write_table(path, {name: kept[name] for name in kept.column_names})


def _ids_path(folder: Path, name: str) -> Path:
    return folder / "ids" / f"{name}.npy"
