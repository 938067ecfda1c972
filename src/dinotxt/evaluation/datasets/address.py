"""Addresses of published data sets: ``ade20k:/data/ADEChallengeData2016#train``."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dinotxt.errors import DataError

_NAMED = re.compile(r"(?P<name>[a-z][a-z0-9-]+):(?!//)(?P<folder>[^#]+)(?:#(?P<split>[\w+-]+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A data set by its name.

    Attributes:
        name: Such as ``ade20k``.
        folder: Where it is unpacked.
        split: The part of it; None takes the usual one.
    """

    name: str
    folder: Path
    split: str | None = None


def parse_address(data: str, known: Iterable[str]) -> Address | None:
    """Return the parts of ``NAME:FOLDER#SPLIT``; None for a plain path.

    Raises:
        DataError: If it has that form but the name is unknown, or the folder does not exist.
    """
    match = _NAMED.fullmatch(data)
    if match is None or Path(data).exists():
        return None
    name, names = match["name"], sorted(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
        raise DataError(f"There is no data set {name!r} for this task: {hint}")
    folder = Path(match["folder"]).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the one where {name} is unpacked.")
    return Address(name, folder, match["split"])


def choose_split(name: str, split: str | None, known: Iterable[str]) -> str:
    """Return a split that the data set has; None takes the first one.

    Raises:
        DataError: If there is no such split.
    """
    names = list(known)
    if split is None:
        return names[0]
    if split not in names:
        raise DataError(f"{name} has no split {split!r}: give {' or '.join(names)}.")
    return split
