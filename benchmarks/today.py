"""An earlier commit of dinotxt as the peer: a worktree of it, in a process of its own.

    git worktree add ../today 7c62838
    python benchmarks/encode.py --today ../today

Both sides are measured by the CPU seconds of their processes, in turns, so that other work on the
machine weighs on both alike.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import Figure

_LOOP = """
import sys, time
{setup}
for line in sys.stdin:
    start = time.process_time()
    call()
    print("seconds", time.process_time() - start, flush=True)
"""


class Today:
    """A process that runs a call of the earlier commit again and again.

    Args:
        place: The worktree.
        setup: Python that defines ``call``.
        arguments: What ``sys.argv[1:]`` is there.
    """

    def __init__(self, place: Path, setup: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP.format(setup=setup), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(place),
        )

    def seconds(self) -> float:
        """Return the CPU seconds of one call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise RuntimeError("the earlier commit failed: its error is above")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def environment(place: Path) -> dict[str, str]:
    """Return the variables under which a worktree's code runs."""
    return {**os.environ, "PYTHONPATH": str(place.resolve() / "src")}


def paired_cpu_rates(
    ours: Callable[[], object], today: Today, *, work: float, unit: str, runs: int
) -> Figure:
    """Compare a call with the earlier commit's; the ratio is the median over the pairs."""
    _cpu_seconds(ours)
    today.seconds()
    pairs = [(_cpu_seconds(ours), today.seconds()) for _ in range(runs)]
    return Figure(
        value=work / statistics.median(a for a, _ in pairs),
        peer=work / statistics.median(b for _, b in pairs),
        ratio=statistics.median(b / a for a, b in pairs),
        unit=unit,
        runs=runs,
    )


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def of_command(command: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """Return the CPU seconds of a command and the most memory that it held, in MiB."""
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "_, status, used = os.wait4(child.pid, 0)\n"
        "assert status == 0, status\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)\n"
    )
    started = [sys.executable, "-c", code, *command]
    done = subprocess.run(started, check=True, capture_output=True, text=True, env=variables)
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)
