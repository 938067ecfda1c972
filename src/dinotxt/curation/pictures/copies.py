"""Which pictures of the pool are copies, byte for byte, of one that comes before.

``digests/NAME.npy`` is uint64 ``[3, m]``: the 128-bit digests of a table's readable pictures in
ascending order, and their numbers. The hash space is searched part by part, so that memory does
not grow with the pool; ``copies/PART.npy`` is int64 ``[r, 4]``: the table and the picture of each
copy, then those of the first.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import read_table, save_array
from dinotxt.data.pictures import Limits
from dinotxt.data.readers import ImageRef
from dinotxt.errors import DataError
from dinotxt.files import read_json, sha256_file, write_json

_PICTURES_A_PART = 8_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TablePictures:
    """The pictures of one table of the pool.

    Attributes:
        refs: Where each lies.
        of_pair: ``[n]``, the picture of each row of the table.
    """

    refs: Sequence[ImageRef]
    of_pair: NDArray[np.int64]


def read_pictures(table: Path) -> TablePictures:
    """Return the pictures of a table, each once, in the order of their first pair."""
    columns = read_table(table, ["picture", "path", "offset", "size", "member"]).to_pydict()
    _, first, of_pair = np.unique(columns["picture"], return_index=True, return_inverse=True)
    return TablePictures([image_ref(columns, int(index)) for index in first], of_pair)


def image_ref(columns: Mapping[str, list[Any]], row: int) -> ImageRef:
    """Return where the picture of a table's row lies."""
    offset = columns["offset"][row]
    return ImageRef(
        columns["path"][row],
        None if offset < 0 else offset,
        columns["size"][row],
        columns["member"][row],
    )


def find_copies(folder: Path, tables: Sequence[Path], engine: Engine) -> None:
    """Write the copies of the pool; see the head of this module for the files.

    Args:
        folder: Gets the files.
        tables: Of the pool, in order: of equal pictures, the one that comes first is no copy.
        engine: Where the work is done.
    """
    pictures = sum(engine.map(partial(_digest_table, folder=folder / "digests"), tables))
    parts = -(-pictures // _PICTURES_A_PART) or 1
    shutil.rmtree(folder / "copies", ignore_errors=True)
    search = partial(_search, folder=folder, names=tuple(table.stem for table in tables))
    for _ in engine.map(search, [(part, parts) for part in range(parts)]):
        pass


def copies_of(folder: Path, number: int) -> NDArray[np.int64]:
    """Return ``[r, 3]`` for a table: the picture of each copy, then table and picture of the first.

    Args:
        folder: As given to `find_copies`.
        number: Of the table.
    """
    found = []
    for path in sorted((folder / "copies").glob("*.npy")):
        stored: NDArray[np.int64] = np.load(path, mmap_mode="r")
        low, high = np.searchsorted(stored[:, 0], (number, number + 1))
        found.append(np.array(stored[low:high, 1:]))
    return np.concatenate(found)


def forget_copies(folder: Path) -> None:
    """Remove what `find_copies` wrote."""
    shutil.rmtree(folder / "digests", ignore_errors=True)
    shutil.rmtree(folder / "copies", ignore_errors=True)


def _digest_table(table: Path, *, folder: Path) -> int:
    """Write the digests of one table, unless that is done; return how many there are."""
    path, marker = folder / f"{table.stem}.npy", folder / f"{table.stem}.json"
    digest = sha256_file(table)
    if marker.exists() and read_json(marker) == {"table": digest}:
        return int(np.load(path, mmap_mode="r").shape[1])
    numbers, contents = [], []
    for number, ref in enumerate(read_pictures(table).refs):
        try:
            content = ref.read(Limits().max_bytes)
        except DataError:
            continue  # counted when it is embedded
        numbers.append(number)
        contents.append(hashlib.blake2b(content, digest_size=16).digest())
    digests = np.frombuffer(b"".join(contents), dtype="<u8").reshape(-1, 2).T
    order = np.lexsort((digests[1], digests[0]))
    columns = [digests[0, order], digests[1, order], np.array(numbers, dtype=np.uint64)[order]]
    save_array(path, np.stack(columns).astype(np.uint64))
    write_json(marker, {"table": digest})
    return len(numbers)


def _search(part: tuple[int, int], *, folder: Path, names: tuple[str, ...]) -> None:
    number, parts = part
    low = np.uint64(number * (1 << 64) // parts)
    high = np.uint64((number + 1) * (1 << 64) // parts - 1)
    pieces, owners = [], []
    for index, name in enumerate(names):
        stored: NDArray[np.uint64] = np.load(folder / "digests" / f"{name}.npy", mmap_mode="r")
        first = int(np.searchsorted(stored[0], low))
        last = int(np.searchsorted(stored[0], high, side="right"))
        pieces.append(np.array(stored[:, first:last]))
        owners.append(np.full(last - first, index, dtype=np.int64))
    joined, tables = np.concatenate(pieces, axis=1), np.concatenate(owners)
    order = np.lexsort((joined[2], tables, joined[1], joined[0]))  # the first picture stays first
    ordered, tables = joined[:, order], tables[order]
    starts = np.ones(len(tables), dtype=bool)
    starts[1:] = (ordered[:2, 1:] != ordered[:2, :-1]).any(0)
    first_of = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
    copies = np.flatnonzero(~starts)
    firsts = first_of[copies]
    pictures = ordered[2].astype(np.int64)
    rows = np.stack([tables[copies], pictures[copies], tables[firsts], pictures[firsts]], axis=1)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    save_array(folder / "copies" / f"{number:05d}.npy", rows)
