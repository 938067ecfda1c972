"""The two balances joined: every pair's two keep probabilities, and the draw of an epoch.

Paper section 4.2: a pair is seen in an epoch if its caption and its picture are both kept; the
draws are stochastic and new each epoch. See `dinotxt.data.order.curated` for the file format.
The pairs of a draw can also be written as a table, for other trainers.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import read_table, save_array, save_parts, table_paths
from dinotxt.curation.stage import StageFolder, StageReport, read_report
from dinotxt.data.order import KEEP_DTYPE, DrawMode, draw
from dinotxt.errors import ConfigError, DataError, import_extra
from dinotxt.files import atomic_path, write_json

STAGE = "keep"

_BALANCES = {"balance": "keep_text", "sample": "keep_image"}
_IDS_A_PART = 8_000_000


def join_probabilities(config: CurationConfig, engine: Engine) -> StageReport:
    """Write ``keep/NAME.npy``: each pair's id and two probabilities, sorted by id.

    A balance that is not there, because no draw asked for it, counts as 1.
    """
    root = config.output
    balances = [name for name in _BALANCES if (root / name / "stage.json").exists()]
    folder = StageFolder(
        root, STAGE, config={"seed": config.seed}, after=["pairs", *balances], follows=True
    )
    finished = folder.finished()
    write_json(folder.path / "draw.json", {"seed": config.seed, "mode": config.draw.mode})
    if finished:
        return finished
    tables = table_paths(root, read_report(root, "pairs"))
    join = partial(_join_table, root=root, balances=tuple(balances))
    results = list(engine.map(join, tables))
    total = sum(result["pairs"] for result in results)
    never = sum(result["never"] for result in results)
    sums = {key: sum(result[key] for result in results) for key in ("text", "image", "both")}
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=total,
            n_out=total - never,
            reasons={"dropped by an earlier stage": never} if never else {},
            files=folder.relative(folder.path / f"{table.stem}.npy" for table in tables),
            details={"expected": sums},
        )
    )


def draw_epoch(config: CurationConfig, engine: Engine, *, epoch: int = 0) -> dict[str, Any]:
    """Write ``draws/epoch-N.npy``: the sorted ids that an epoch keeps.

    Returns:
        The JSON of the verb: ``stage, n_in, n_out, reasons, files, complete, epoch, kept_text,
        kept_image, kept``.
    """
    root = config.output
    joined = read_report(root, STAGE)
    decide = partial(_draw_table, root=root, seed=config.seed, epoch=epoch, mode=config.draw.mode)
    results = list(engine.map(decide, [root / file for file in joined.files]))
    kept = sum(result["kept"] for result in results)
    path = root / "draws" / f"epoch-{epoch}.npy"
    parts = [Path(result["path"]) for result in results]
    _merge(parts, kept, path)
    shutil.rmtree(root / "draws" / f"epoch-{epoch}")
    totals = {key: sum(result[key] for result in results) for key in results[0] if key != "path"}
    reasons = _reasons(config.draw.mode, joined.n_in, totals)
    return {
        "stage": "draw",
        "n_in": joined.n_in,
        "n_out": kept,
        "reasons": reasons,
        "files": [path.relative_to(root).as_posix()],
        "complete": joined.complete,
        "epoch": epoch,
        "kept_text": totals["kept_text"],
        "kept_image": totals["kept_image"],
        "kept": kept,
    }


def _reasons(mode: DrawMode, total: int, counts: dict[str, int]) -> dict[str, int]:
    text, image, twice = counts["kept_text"], counts["kept_image"], counts["kept_twice"]
    dropped = {
        "none": {},
        "text": {"dropped by text": total - text},
        "image": {"dropped by image": total - image},
        "both": {
            "dropped by text": image - twice,
            "dropped by image": text - twice,
            "dropped by text and image": total - text - image + twice,
        },
    }
    return {reason: count for reason, count in dropped[mode].items() if count}


def _join_table(table: Path, *, root: Path, balances: tuple[str, ...]) -> dict[str, Any]:
    ids = read_table(table, ["pair_id"])["pair_id"].to_numpy()
    records = np.ones(len(ids), dtype=KEEP_DTYPE)
    records["pair_id"] = ids
    for name in balances:
        records[_BALANCES[name]] = np.load(root / name / f"{table.stem}.npy")
    both = records["keep_text"].astype(np.float64) * records["keep_image"]
    ordered = records[np.argsort(ids, kind="stable")]
    save_array(root / STAGE / f"{table.stem}.npy", ordered)
    return {
        "pairs": len(ids),
        "never": int((both == 0).sum()),
        "text": float(records["keep_text"].sum(dtype=np.float64)),
        "image": float(records["keep_image"].sum(dtype=np.float64)),
        "both": float(both.sum()),
    }


def _draw_table(file: Path, *, root: Path, seed: int, epoch: int, mode: DrawMode) -> dict[str, Any]:
    records: NDArray[np.void] = np.load(file, mmap_mode="r")
    decided = draw(records, seed=seed, epoch=epoch, mode=mode)
    path = root / "draws" / f"epoch-{epoch}" / file.name
    save_array(path, records["pair_id"][decided.both])
    return {
        "path": str(path),
        "kept_text": int(decided.text.sum()),
        "kept_image": int(decided.image.sum()),
        "kept_twice": int((decided.text & decided.image).sum()),
        "kept": int(decided.both.sum()),
    }


def _merge(parts: list[Path], kept: int, path: Path) -> None:
    """Merge sorted files into one, range by range, so that memory does not grow with the pool."""
    num_ranges = -(-kept // _IDS_A_PART) or 1
    stored = [np.load(part, mmap_mode="r") for part in parts]

    def ranges() -> Iterator[NDArray[np.uint64]]:
        for number in range(num_ranges):
            low = np.uint64(number * (1 << 64) // num_ranges)
            high = np.uint64((number + 1) * (1 << 64) // num_ranges - 1)
            pieces = [
                array[np.searchsorted(array, low) : np.searchsorted(array, high, side="right")]
                for array in stored
            ]
            yield np.sort(np.concatenate(pieces)).astype("<u8")

    save_parts(path, ranges(), (kept,))


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
