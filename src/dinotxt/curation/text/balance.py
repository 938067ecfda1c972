"""Text balancing after MetaCLIP: frequent entries keep each of their captions more rarely.

Paper section 3.2; Xu et al. 2024, "Demystifying CLIP data", algorithm 1. ``balance/NAME.npy`` is
the keep probability of each caption as float32, in the order of the pool's table. Captions that
say little (paper Figure 3) are flagged by plain rules over their words, without a model.
"""

import re
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.config import to_json
from dinotxt.curation.config import CurationConfig, Flag
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import read_table, save_array, table_paths
from dinotxt.curation.stage import StageFolder, StageReport, add_reasons, read_report
from dinotxt.curation.text.match import UNMATCHED, Matches, read_matches
from dinotxt.curation.text.metadata import ENTRIES, read_entries
from dinotxt.errors import ConfigError

STAGE = "balance"
_HEAD = 50  # most frequent entries kept for the report
BOILERPLATE, GENERIC, AMBIGUOUS = "boilerplate", "generic", "ambiguous"
_BOILERPLATE_TEXT = re.compile(
    r"^\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)$"  # the name of a file
    r"|^(?:img|dsc[nf]?|p|pict|image|photo|screenshot)[\s_-]*\d+"  # the name that a camera gives
    r"|https?://|\bwww\."
    r"|stock (?:photo|image|vector|illustration)|royalty[- ]free|all rights reserved"
    r"|click (?:here|to)|image result for|no (?:description|caption|image)|untitled"
    r"|free download|add to cart|photo (?:by|credit|courtesy)|shutterstock|getty ?images|thumbnail"
)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff]")  # Thai to CJK
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_TELLS_NOTHING = re.compile(
    r"(an?|the|of|in|on|at|to|for|from|with|and|or|by|is|are|was|be|th(is|at|ese|ose)|its?|my|our"
    r"|your|his|her|their|some|other|another|one|photos?|photograph|images?|pictures?|pics?|views?"
    r"|shot|scene|stuff|things?|something|gallery|slide|figure|illustration)",
    re.IGNORECASE,
)


def balance_captions(config: CurationConfig, engine: Engine) -> StageReport:
    """Turn the counts of entries into a keep probability for every caption."""
    root = config.output
    folder = StageFolder(root, STAGE, config=to_json(config.text), after=["pairs", "match"])
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
            stage=STAGE,
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


def entry_probabilities(counts: NDArray[np.uint64], threshold: int) -> NDArray[np.float64]:
    """Return ``p_e = min(1, t / count_e)`` for each entry.

    Args:
        counts: ``[E]``, how many captions hold each entry.
        threshold: The number t of captions that an entry keeps on average.
    """
    return np.minimum(1.0, threshold / np.maximum(counts, 1).astype(np.float64))


def keep_probabilities(matches: Matches, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``1 - prod(1 - p_e)`` over the entries of each caption; 0 without entries.

    Args:
        matches: The entries of n captions.
        probabilities: ``[E]`` from `entry_probabilities`.
    """
    with np.errstate(divide="ignore"):
        logs = np.log1p(-probabilities)[matches.entries]
    keep = np.zeros(len(matches), dtype=np.float64)
    has_entries = np.diff(matches.offsets) > 0
    if has_entries.any():
        starts = matches.offsets[:-1][has_entries]
        keep[has_entries] = -np.expm1(np.add.reduceat(logs, starts))
    return keep


def threshold_of_tail(counts: NDArray[np.uint64], tail_share: float) -> int:
    """Return the t for which entries below t hold about a share of all matches.

    MetaCLIP's rule of thumb is 0.06: t = 20,000 for 400 million captions.

    Args:
        counts: ``[E]``, how many captions hold each entry.
        tail_share: A share between 0 and 1.

    Raises:
        ConfigError: If no caption holds any entry.
    """
    ordered = np.sort(counts[counts > 0])
    if not len(ordered):
        raise ConfigError(
            "No caption holds any metadata entry, so that no threshold can be chosen: "
            "set `text.threshold`, or use other `metadata.sources`."
        )
    cumulative = np.cumsum(ordered, dtype=np.float64)
    first = int(np.searchsorted(cumulative, tail_share * cumulative[-1]))
    return int(ordered[min(first, len(ordered) - 1)])


def tail_of_threshold(counts: NDArray[np.uint64], threshold: int) -> float:
    """Return the share of all matches that belong to entries with fewer than t captions."""
    total = float(counts.sum(dtype=np.float64))
    return float(counts[counts < threshold].sum(dtype=np.float64)) / total if total else 0.0


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


def flag(caption: str) -> str | None:
    """Return ``boilerplate``, ``generic``, ``ambiguous`` or None for a caption.

    Boilerplate is a file name, an address or a stock phrase; generic has no word but those of any
    picture; ambiguous has a single word that says something.
    """
    text = caption.strip().lower()
    if _BOILERPLATE_TEXT.search(text):
        return BOILERPLATE
    if not text.isascii() and (_UNSPACED.search(text) or not _WORD.search(text)):
        return None  # words cannot be told apart, or there are none to judge
    telling = (word for word in _WORD.findall(text) if not _TELLS_NOTHING.fullmatch(word))
    count = sum(1 for _ in islice(telling, 2))
    return (GENERIC, AMBIGUOUS, None)[count]
