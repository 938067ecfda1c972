"""Videos as folders of frames: found in the order in which they are played."""

import re
from collections.abc import Iterable
from pathlib import Path

_NUMBER = re.compile(r"(\d+)")


def play_order(paths: Iterable[str]) -> list[str]:
    """Return paths folder by folder, numbers in names by their value: ``2.png`` before ``10.png``.

    A name that differs only by leading zeros comes after the shorter one.
    """
    return sorted(paths, key=_key)


def mirrored_name(path: str, root: str | Path) -> str:
    """Return what the result of a frame below ``root`` is called: its path without suffix."""
    return Path(path).relative_to(root).with_suffix("").as_posix()


def _key(path: str) -> tuple[tuple[tuple[int, int | str], ...], ...]:
    return tuple(_natural(part) for part in Path(path).parts)


def _natural(part: str) -> tuple[tuple[int, int | str], ...]:
    pieces = (piece for piece in _NUMBER.split(part) if piece)
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces)
