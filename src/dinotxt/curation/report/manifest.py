"""The pairs of a draw as a table, for other trainers: key, caption and place of the picture."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dinotxt.curation.pool.pool import table_paths
from dinotxt.curation.pool.tables import read_table
from dinotxt.curation.stage import read_report
from dinotxt.errors import ConfigError, DataError, import_extra
from dinotxt.files import atomic_path

_COLUMNS = ("pair_id", "key", "caption_index", "caption", "path", "offset", "size", "member")


def write_manifest(root: Path, epoch: int, path: Path) -> int:
    """Write the kept pairs of a drawn epoch, in the order of the pool.

    Args:
        root: The output folder of the curation.
        epoch: A drawn epoch.
        path: Ends in ``.parquet``, ``.csv`` or ``.jsonl``.

    Returns:
        The number of pairs.

    Raises:
        ConfigError: If the ending is another.
        DataError: If the epoch was not drawn.
    """
    drawn = root / "draws" / f"epoch-{epoch}.npy"
    if not drawn.exists():
        raise DataError(f"Epoch {epoch} is not drawn: run `dinotxt curate draw` first.")
    writer = manifest_writer(path)
    kept = np.load(drawn, mmap_mode="r")
    count = 0

    def tables() -> Iterator[Any]:
        nonlocal count
        for table in table_paths(root, read_report(root, "pairs")):
            content = read_table(table, _COLUMNS)
            chosen = content.filter(np.isin(content["pair_id"].to_numpy(), kept))
            count += len(chosen)
            yield chosen

    with atomic_path(path) as temporary:
        writer(temporary, tables())
    return count


def manifest_writer(path: Path) -> Callable[[Path, Iterator[Any]], None]:
    """Return what writes a manifest with the ending of a path.

    Raises:
        ConfigError: If the ending is none of ``.parquet``, ``.csv`` and ``.jsonl``.
    """
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl}
    if path.suffix not in writers:
        raise ConfigError(f"{path}: a manifest ends in {', '.join(writers)}.")
    return writers[path.suffix]


def _write_parquet(path: Path, tables: Iterator[Any]) -> None:
    parquet = import_extra("pyarrow.parquet", extra="curate")
    first = next(tables)
    with parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _write_csv(path: Path, tables: Iterator[Any]) -> None:
    csv = import_extra("pyarrow.csv", extra="curate")
    first = next(tables)
    with csv.CSVWriter(path, first.schema) as writer:
        writer.write(first)
        for table in tables:
            writer.write(table)


def _write_jsonl(path: Path, tables: Iterator[Any]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for table in tables:
            for row in table.to_pylist():
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
