"""What every verb shares: progress bars, skipped inputs, JSON output and exit codes."""

import errno
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dinotxt import __version__
from dinotxt.errors import DataError, DinotxtError, told_missing
from dinotxt.files import atomic_path, json_text
from dinotxt.results.skip import Skip

EXIT_FAILED = 1
EXIT_SKIPPED = 3
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class Session:
    """One run of a verb: collects skips, shows progress and writes the JSON result.

    Args:
        task: The verb's name, for the JSON.
        json_path: Where the JSON goes: a file, ``-`` for standard output, or None.
        quiet: Show no progress and no tables.
    """

    def __init__(self, task: str, json_path: str | None, quiet: bool = False) -> None:
        self.task = task
        self.json_path = json_path
        self.skipped: list[Skip] = []
        self._start = time.perf_counter()
        self._silent = quiet or json_path == "-"
        self.console = Console(quiet=self._silent)
        self.errors = Console(stderr=True, soft_wrap=True, highlight=False)
        self._progress_console = Console(stderr=True, quiet=quiet)
        # What should be read before the run ends, beside JSON on standard output, too.
        self.notes = self._progress_console if json_path == "-" else self.console

    def skip(self, skip: Skip) -> None:
        """Record an input that was left out and say so on standard error."""
        self.skipped.append(skip)
        self.errors.print(f"skipped {skip.path}: {skip.reason}", style="yellow", markup=False)

    def warn(self, message: Warning | str, *_: object, **__: object) -> None:
        """Say a warning on standard error as one line; the signature of ``showwarning``."""
        self.errors.print(f"warning: {message}", style="yellow", markup=False)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Show a progress bar; the block calls ``report(done, total)``."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        start = time.perf_counter()
        with Progress(*columns, console=self._progress_console) as bars:
            task = bars.add_task(label, total=None, rate="")

            def report(done: int, total: int) -> None:
                rate = done / max(time.perf_counter() - start, 1e-9)
                bars.update(task, completed=done, total=total, rate=f"{rate:.1f}/s")

            yield report

    def finish(self, payload: Mapping[str, Any], *, done: int = 1) -> None:
        """Write the JSON and leave with the exit code of the contract.

        Args:
            payload: The verb's own keys.
            done: How many inputs were handled; 0 with something skipped means failure.
        """
        head = {
            "task": self.task,
            "version": __version__,
            "seconds": round(time.perf_counter() - self._start, 3),
        }
        skipped = [{"path": skip.path, "reason": skip.reason} for skip in self.skipped]
        self._write({**head, **payload, "skipped": skipped})
        if self.skipped:
            raise typer.Exit(EXIT_SKIPPED if done else EXIT_FAILED)

    def _write(self, content: Mapping[str, Any]) -> None:
        if self.json_path is None:
            return
        text = json_text(content, allow_nan=False)
        if self.json_path == "-":
            sys.stdout.write(text)
            return
        with output_file(self.json_path, "--json") as temporary:
            temporary.write_text(text, "utf-8")


@contextmanager
def output_file(path: str | Path, option: str) -> Iterator[Path]:
    """Give a temporary file that becomes ``path``, which an option names, when the block succeeds.

    Raises:
        DataError: If it cannot be written; what was there stays.
    """
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except OSError as error:
        message = f"{path} cannot be written ({error.strerror or error})"
        raise DataError(f"{message}: make room or choose another {option}.") from None


@contextmanager
def session(task: str, json_path: str | None, quiet: bool = False) -> Iterator[Session]:
    """Run a verb: what went wrong becomes one message on standard error and exit code 1.

    That is a ``DinotxtError``, or a place that does not take a file. Warnings are said as plainly.
    """
    current = Session(task, json_path, quiet)
    try:
        with warnings.catch_warnings(), told_missing():
            warnings.showwarning = current.warn
            yield current
    except DinotxtError as error:
        message = str(error)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        place = f"{error.filename or 'the disk'}: {error.strerror}"
        message = f"{place}. Make room, mend its permission or choose another place."
    else:
        return
    current.errors.print(f"error: {message}", style="red", markup=False)
    raise typer.Exit(EXIT_FAILED)
