"""Measure a thing against its peer in the same run: paired A B A B ..., medians, JSON.

Every script of this folder prints ``{"name", "figures", "machine", "version"}``, where a figure
is ``{"value", "peer", "ratio", "unit", "runs"}`` and a larger ``ratio`` is better. Where the bar
is a limit, ``peer`` is the limit.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dinotxt import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number beside its peer.

    Attributes:
        value: The median of ours.
        peer: The median of the peer, or the limit.
        ratio: How much better than the peer; larger is better.
        unit: Of value and peer.
        runs: How many pairs the medians are taken over.
    """

    value: float
    peer: float
    ratio: float
    unit: str
    runs: int


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired_rates(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    work: float,
    unit: str,
    runs: int,
    peer_work: float | None = None,
) -> Figure:
    """Compare two calls by rate; the ratio is the median over the pairs.

    Args:
        ours: The call to measure.
        peer: What it is measured against.
        work: What one call of ours does, in units.
        unit: The unit of the rate, such as ``images/s``.
        runs: Pairs to take, after one of each as warm-up.
        peer_work: What one call of the peer does (default: the same).
    """
    ours()
    peer()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(runs)]
    rates = [(work / a, (peer_work or work) / b) for a, b in pairs]
    return Figure(
        value=statistics.median(a for a, _ in rates),
        peer=statistics.median(b for _, b in rates),
        ratio=statistics.median(a / b for a, b in rates),
        unit=unit,
        runs=runs,
    )


def limit(value: float, *, limit: float, unit: str, runs: int = 1) -> Figure:
    """Hold a value (smaller is better) against a limit."""
    return Figure(value=value, peer=limit, ratio=limit / value, unit=unit, runs=runs)


def at_least(value: float, *, goal: float, unit: str, runs: int = 1) -> Figure:
    """Hold a value (larger is better) against a goal."""
    return Figure(value=value, peer=goal, ratio=value / goal, unit=unit, runs=runs)


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes.

    ``getrusage`` would not do: a process begins with the peak of the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def added_memory(call: Callable[[], object]) -> int:
    """Return by how many bytes the peak of a fresh process exceeds what it held before a call."""
    held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    call()
    return peak_memory() - held


def matmul_flops(size: int = 1536, runs: int = 5) -> float:
    """Return the machine's own fp32 matrix multiplication rate, in FLOP/s."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    return 2 * size**3 / statistics.median(seconds(lambda: a @ b) for _ in range(runs))


def today_place() -> Path | None:
    """Return the worktree of an earlier commit that ``--today`` names."""
    return Path(sys.argv[sys.argv.index("--today") + 1]) if "--today" in sys.argv else None


def main(name: str, measure: Callable[[bool], dict[str, Figure]]) -> None:
    """Run a benchmark as a script: ``python benchmarks/NAME.py [--quick] [--json FILE|-]``."""
    parser = argparse.ArgumentParser(description=f"The {name} benchmark.")
    parser.add_argument("--json", metavar="FILE|-", default="-")
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--today", metavar="FOLDER", help="a worktree of an earlier commit")
    arguments = parser.parse_args()
    write_report(name, measure(arguments.quick), arguments.json)


def write_report(
    name: str, figures: Mapping[str, Figure], target: str, **more: Mapping[str, object]
) -> None:
    """Write what a benchmark found as JSON.

    Args:
        name: Of the benchmark.
        figures: By their keys.
        target: A file, or ``-`` for the standard output.
        more: What else the report should hold.
    """
    report = {
        "name": name,
        "figures": {key: asdict(figure) for key, figure in figures.items()},
        **more,
        "machine": _machine(),
        "version": __version__,
    }
    text = json.dumps(report, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, "utf-8")


def _machine() -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }
