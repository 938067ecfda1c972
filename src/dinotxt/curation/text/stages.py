"""The two text stages: captions matched against the metadata, then balanced (section 3.2).

``match/NAME.parquet`` has ``pair_id`` and ``entries`` (list of int32) a caption, ``counts.npy``
how many captions hold each entry; ``balance/NAME.npy`` the keep probability of each caption as
float32, in the order of the pool's table.
"""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.config import to_json
from dinotxt.curation.config import CurationConfig, Flag, MatchConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool.arrays import save_array
from dinotxt.curation.pool.pool import table_paths
from dinotxt.curation.pool.tables import read_table, write_table
from dinotxt.curation.stage import StageFolder, StageReport, add_reasons, read_report
from dinotxt.curation.text.balancing import (
    entry_probabilities,
    keep_probabilities,
    tail_of_threshold,
    threshold_of_tail,
)
from dinotxt.curation.text.flags import flag
from dinotxt.curation.text.matching import Matcher, Matches, open_matcher
from dinotxt.curation.text.metadata import ENTRIES, read_entries
from dinotxt.errors import import_extra
from dinotxt.files import sha256_file

UNMATCHED = "no metadata entry matched"
_HEAD = 50  # most frequent entries kept for the report


def match_captions(config: CurationConfig, engine: Engine) -> StageReport:
    """Find the metadata entries of every caption and count them."""
    root = config.output
    settings = {"normalize": config.match.normalize}  # both engines give the same result
    folder = StageFolder(root, "match", config=settings, after=["pairs", "metadata"])
    if finished := folder.finished():
        return finished
    entries = root / "metadata" / ENTRIES
    num_entries = read_report(root, "metadata").n_out
    tables = table_paths(root, read_report(root, "pairs"))
    match = partial(
        _match_table,
        folder=folder.path,
        entries=entries,
        digest=sha256_file(entries),
        settings=config.match,
    )
    counts = np.zeros(num_entries, dtype=np.uint64)
    captions = matched = 0
    for ids, found, in_table, matched_in_table in engine.map(match, tables):
        counts[ids] += found
        captions += in_table
        matched += matched_in_table
    save_array(folder.path / "counts.npy", counts)
    names = [folder.path / "counts.npy", *(folder.path / table.name for table in tables)]
    return folder.finish(
        StageReport(
            stage="match",
            n_in=captions,
            n_out=matched,
            reasons={UNMATCHED: captions - matched} if captions > matched else {},
            files=folder.relative(names),
            details={
                "num_entries": num_entries,
                "entries_found": int((counts > 0).sum()),
                "num_matches": int(counts.sum()),
            },
        )
    )


def balance_captions(config: CurationConfig, engine: Engine) -> StageReport:
    """Turn the counts of entries into a keep probability for every caption."""
    root = config.output
    folder = StageFolder(root, "balance", config=to_json(config.text), after=["pairs", "match"])
    if finished := folder.finished():
        return finished
    counts: NDArray[np.uint64] = np.load(root / "match" / "counts.npy")
    threshold = config.text.threshold
    if threshold is None:
        assert config.text.tail_share is not None
        threshold = threshold_of_tail(counts, config.text.tail_share)
    tables = table_paths(root, read_report(root, "pairs"))
    head = np.sort(np.argsort(-counts.astype(np.int64), kind="stable")[:_HEAD])
    balance = partial(
        _balance_table,
        folder=folder.path,
        probabilities=entry_probabilities(counts, threshold),
        head=head,
        drop=config.text.drop,
    )
    results = list(engine.map(balance, tables))
    captions = sum(result[0] for result in results)
    reasons = add_reasons(result[1] for result in results)
    return folder.finish(
        StageReport(
            stage="balance",
            n_in=captions,
            n_out=captions - sum(reasons.values()),
            reasons=reasons,
            files=folder.relative(folder.path / f"{table.stem}.npy" for table in tables),
            details={
                "threshold": threshold,
                "tail_share": tail_of_threshold(counts, threshold),
                "expected": float(sum(result[2] for result in results)),
                "flags": add_reasons(result[3] for result in results),
                "head": _head(root, counts, head, sum(result[4] for result in results)),
            },
        )
    )


def _match_table(
    table: Path, *, folder: Path, entries: Path, digest: str, settings: MatchConfig
) -> tuple[NDArray[np.int64], NDArray[np.uint64], int, int]:
    """Match one table, unless that is done; return its (entry ids, counts, captions, matched)."""
    path = folder / table.name
    if path.exists():
        matches = read_matches(path)
    else:
        arrow = import_extra("pyarrow", extra="curate")
        content = read_table(table, ["pair_id", "caption"])
        matches = _matcher(entries, digest, settings).match(content["caption"].to_pylist())
        lists = arrow.ListArray.from_arrays(matches.offsets.astype(np.int32), matches.entries)
        write_table(path, {"pair_id": content["pair_id"], "entries": lists})
    ids, counts = np.unique(matches.entries, return_counts=True)
    matched = int((np.diff(matches.offsets) > 0).sum())
    return ids.astype(np.int64), counts.astype(np.uint64), len(matches), matched


def read_matches(path: Path) -> Matches:
    """Read the entries of a table's captions."""
    column = read_table(path, ["entries"])["entries"].combine_chunks()
    return Matches(column.flatten().to_numpy(), column.offsets.to_numpy().astype(np.int64))


@lru_cache(maxsize=1)
def _matcher(entries: Path, digest: str, settings: MatchConfig) -> Matcher:
    del digest  # part of the key: the file may have changed
    return open_matcher(read_entries(entries), engine=settings.engine, normalize=settings.normalize)


def _balance_table(
    table: Path,
    *,
    folder: Path,
    probabilities: NDArray[np.float64],
    head: NDArray[np.int64],
    drop: tuple[Flag, ...],
) -> tuple[int, dict[str, int], float, dict[str, int], NDArray[np.float64]]:
    """Write the keep probabilities of one table.

    Returns:
        Captions, reasons, expected captions, flags, and expected captions of each head entry.
    """
    matches = read_matches(folder.parent / "match" / table.name)
    keep = keep_probabilities(matches, probabilities)
    unmatched = np.diff(matches.offsets) == 0
    captions = read_table(table, ["caption"])["caption"].to_pylist()
    reasons = {UNMATCHED: int(unmatched.sum())}
    flags = np.array([flag(caption) or "" for caption in captions])
    for kind in drop:
        flagged = (flags == kind) & ~unmatched
        reasons[f"{kind} caption"] = int(flagged.sum())
        keep[flagged] = 0.0
    save_array(folder / f"{table.stem}.npy", keep.astype(np.float32))
    weights = np.repeat(keep, np.diff(matches.offsets))
    places = np.minimum(np.searchsorted(head, matches.entries), len(head) - 1)
    in_head = head[places] == matches.entries
    after: NDArray[np.float64] = np.bincount(
        places[in_head], weights=weights[in_head], minlength=len(head)
    ).astype(np.float64)
    return len(keep), reasons, float(keep.sum()), _count(flags), after


def _count(flags: NDArray[np.str_]) -> dict[str, int]:
    kinds, counts = np.unique(flags[flags != ""], return_counts=True)
    return {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}


def _head(
    root: Path, counts: NDArray[np.uint64], head: NDArray[np.int64], after: NDArray[np.float64]
) -> list[dict[str, str | float]]:
    """Return the most frequent entries with their captions before and, expected, after."""
    entries = read_entries(root / "metadata" / ENTRIES)
    order = np.argsort(-counts[head].astype(np.int64), kind="stable")
    return [
        {
            "entry": entries[head[place]],
            "before": int(counts[head[place]]),
            "after": round(float(after[place]), 1),
        }
        for place in order
        if counts[head[place]] > 0
    ]
