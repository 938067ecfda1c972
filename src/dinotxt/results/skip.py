"""What a run tells while it works: how far it is, and which records it left out and why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dinotxt.errors import DataError


@dataclass(frozen=True, slots=True)
class Skip:
    """One input that could not be used.

    Attributes:
        path: The file, or the key of the record.
        reason: What is wrong with it, in words.
    """

    path: str
    reason: str


OnSkip: TypeAlias = Callable[[Skip], None]
Progress: TypeAlias = Callable[[int, int], None]  # told (done, total)


def or_raise(on_skip: OnSkip | None) -> OnSkip:
    """Return ``on_skip``, or, where it is None, a function that raises DataError."""
    return _raise if on_skip is None else on_skip


def _raise(skip: Skip) -> None:
    raise DataError(f"{skip.path}: {skip.reason}")
