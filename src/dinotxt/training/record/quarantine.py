"""Pairs that could not be used: written down once each, and too many of them end the run."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

_log = logging.getLogger(__name__)


class Quarantine:
    """A file of JSON lines ``{"path", "reason"}``; each path comes once, resumes included.

    Args:
        path: The file.
        on_skip: Hears of each new one; None: a warning is logged.
        is_silent: Only count: another process of the run does the rest.
    """

    def __init__(
        self,
        path: Path,
        on_skip: Callable[[Skip], None] | None = None,
        *,
        is_silent: bool = False,
    ) -> None:
        self.path = path
        self._is_silent = is_silent
        self._on_skip = on_skip
        self._known: set[str] = set()
        if path.exists():
            self._known = {
                json.loads(line)["path"] for line in path.read_text("utf-8").splitlines()
            }

    def add(self, skip: Skip) -> None:
        """Write down a pair, unless it is known."""
        if skip.path in self._known:
            return
        self._known.add(skip.path)
        if self._is_silent:
            return
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(skip)) + "\n")
        if self._on_skip is None:
            _log.warning("left out %s: %s", skip.path, skip.reason)
        else:
            self._on_skip(skip)

    def check(self, num_pairs: int, share: float) -> None:
        """Stop when more than a share of the pairs is lost (one is always allowed).

        Raises:
            DataError: With the number and the file.
        """
        if len(self._known) > max(1, share * num_pairs):
            raise DataError(
                f"{len(self._known)} of {num_pairs} pairs cannot be used, more than "
                f"data.max_skipped ({share:g}): see {self.path}."
            )
