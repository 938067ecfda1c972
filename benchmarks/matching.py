"""Matching 500,000 entries against a pyahocorasick loop that does the same; memory; two workers."""

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import ahocorasick
import numpy as np

from curation_data import make_captions, make_entries
from dinotxt.curation.config import MatchConfig
from dinotxt.curation.engine import LocalPool
from dinotxt.curation.pool.files import write_table
from dinotxt.curation.text.match import _match_table, open_matcher
from dinotxt.curation.text.spacing import spacing
from harness import Figure, limit, main, paired_rates, peak_memory

_ENTRIES = 500_000
_RSS_MIB = 350


def measure(quick: bool) -> dict[str, Figure]:
    """Measure all figures."""
    captions = make_captions(20_000 if quick else 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = make_entries(_ENTRIES)
        (folder / "entries.txt").write_text("\n".join(entries) + "\n", "utf-8")
        tables = [_table(folder, captions, part, 8) for part in range(8)]
        figures = {
            "rate": _rate(folder, entries, captions, 3 if quick else 9),
            "memory": _memory(folder, tables),
        }
        del entries
        figures["two_workers"] = _two_workers(folder, tables, len(captions), 2 if quick else 5)
    return figures


def _rate(folder: Path, entries: list[str], captions: list[str], runs: int) -> Figure:
    matcher = open_matcher(entries)
    automaton = ahocorasick.Automaton()
    for index, entry in enumerate(entries):
        automaton.add_word(f" {entry} ", index)
    automaton.make_automaton()

    def ours() -> None:
        matches = matcher.match(captions)
        np.save(folder / "entries.npy", matches.entries)
        np.save(folder / "offsets.npy", matches.offsets)

    def peer() -> None:
        flat: list[int] = []
        offsets = [0]
        for caption in captions:
            found = {index for _, index in automaton.iter(spacing(caption))}
            flat.extend(sorted(found))
            offsets.append(len(flat))
        np.save(folder / "peer_entries.npy", np.array(flat, dtype=np.int32))
        np.save(folder / "peer_offsets.npy", np.array(offsets, dtype=np.int64))

    figure = paired_rates(ours, peer, work=len(captions), unit="captions/s", runs=runs)
    for kind in ("entries", "offsets"):
        same = np.array_equal(np.load(folder / f"{kind}.npy"), np.load(folder / f"peer_{kind}.npy"))
        if not same:
            raise SystemExit("the two matchers differ")
    return figure


def _memory(folder: Path, tables: list[Path]) -> Figure:
    """Take the peak of a new process that matches one table as a worker does."""
    command = [sys.executable, __file__, "--worker", str(folder), str(tables[0])]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return limit(float(result.stdout), limit=_RSS_MIB, unit="MiB")


def _two_workers(folder: Path, tables: list[Path], captions: int, runs: int) -> Figure:
    """Compare a pool of two with two processes that know nothing of each other."""
    pool = LocalPool(2)
    try:
        list(pool.map(_task(folder / "warm"), [*tables, *tables]))
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(3)
        halves = (tables[0::2], tables[1::2])
        alone = [
            context.Process(target=_independent, args=(folder, half, barrier, runs))
            for half in halves
        ]
        for process in alone:
            process.start()
        barrier.wait()
        pairs = []
        for run in range(runs):
            start = time.perf_counter()
            list(pool.map(_task(folder / f"run{run}"), tables))
            ours = time.perf_counter() - start
            barrier.wait()
            start = time.perf_counter()
            barrier.wait()
            pairs.append((captions / ours, captions / (time.perf_counter() - start)))
        for process in alone:
            process.join()
    finally:
        pool.close()
    return Figure(
        value=statistics.median(a for a, _ in pairs),
        peer=statistics.median(b for _, b in pairs),
        ratio=statistics.median(a / b for a, b in pairs),
        unit="captions/s",
        runs=runs,
    )


def _independent(folder: Path, tables: list[Path], barrier: Any, runs: int) -> None:
    _match(folder / f"alone-warm-{tables[0].stem}", tables[:1])
    barrier.wait()
    for run in range(runs):
        barrier.wait()
        _match(folder / f"alone-{run}-{tables[0].stem}", tables)
        barrier.wait()


def _match(folder: Path, tables: list[Path]) -> None:
    task = _task(folder)
    for table in tables:
        task(table)


def _task(folder: Path) -> Any:
    entries = folder.parent / "entries.txt"
    return partial(_match_table, folder=folder, entries=entries, digest="", settings=MatchConfig())


def _table(folder: Path, captions: list[str], part: int, parts: int) -> Path:
    chosen = captions[part::parts]
    path = folder / f"table-{part}.parquet"
    write_table(path, {"pair_id": np.arange(len(chosen), dtype=np.uint64), "caption": chosen})
    return path


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _match(Path(sys.argv[2]) / "worker", [Path(sys.argv[3])])
        print(peak_memory() / 2**20)
    else:
        main("matching", measure)
