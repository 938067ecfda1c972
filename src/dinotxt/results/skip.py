"""A record that was left out, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skip:
    """One input that could not be used.

    Attributes:
        path: The file, or the key of the record.
        reason: What is wrong with it, in words.
    """

    path: str
    reason: str
