"""Pairs whose id came before in the pool: the first keeps it, the others are dropped."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.engine import Engine
from dinotxt.curation.pool.files import by_key, read_table, write_table

_PAIRS_A_PART = 16_000_000  # 128 MiB of ids


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
    for owners, ranks in engine.map(search, range(parts)):
        for owner, own in by_key(owners, ranks):
            repeated.setdefault(owner, []).append(own)
    for owner, found in repeated.items():
        again = np.concatenate(found)
        _rewrite(folder / f"{tables[owner]}.parquet", again)
        rows_left -= len(again)
    shutil.rmtree(folder / "ids")
    return rows_left


def _sort_ids(name: str, *, folder: Path) -> int:
    ids = read_table(folder / f"{name}.parquet", ["pair_id"])["pair_id"].to_numpy()
    path = _ids_path(folder, name)
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.sort(ids))  # made anew by every run, so that it need not be whole or absent
    return len(ids)


def _repeated(
    part: int, *, folder: Path, tables: tuple[str, ...], parts: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each id of a part that came before: its table, and its rank in the table by id."""
    low = np.uint64(part * (1 << 64) // parts)
    high = np.uint64((part + 1) * (1 << 64) // parts - 1)
    pieces, firsts = [], []
    for name in tables:
        stored: NDArray[np.uint64] = np.load(_ids_path(folder, name), mmap_mode="r")
        first, last = np.searchsorted(stored, low), np.searchsorted(stored, high, side="right")
        pieces.append(stored[first:last])
        firsts.append(first)
    ids = np.concatenate(pieces)
    ordered = np.sort(ids)  # without their places: most pools repeat no id, or few
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(several):
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    nearest = np.minimum(np.searchsorted(several, ids), len(several) - 1)
    among = np.flatnonzero(several[nearest] == ids)
    among = among[np.argsort(ids[among], kind="stable")]  # the table that comes first stays first
    again = among[1:][ids[among[1:]] == ids[among[:-1]]]
    ends = np.cumsum([len(piece) for piece in pieces])
    owners = np.searchsorted(ends, again, side="right")
    starts = ends - [len(piece) for piece in pieces]
    ranks = again - starts[owners] + np.array(firsts)[owners]
    return owners.astype(np.int32), ranks.astype(np.int32)


def _rewrite(path: Path, ranks: NDArray[np.int32]) -> None:
    """Drop the rows of a table that have these ranks in the stable order of its ids."""
    table = read_table(path)
    order = np.argsort(table["pair_id"].to_numpy(), kind="stable")
    keep = np.ones(len(table), dtype=bool)
    keep[order[ranks]] = False
    kept = table.filter(keep)
    write_table(path, {name: kept[name] for name in kept.column_names})


def _ids_path(folder: Path, name: str) -> Path:
    return folder / "ids" / f"{name}.npy"
