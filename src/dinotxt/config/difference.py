"""What differs between two configurations, by dotted path."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the keys whose values differ, one line each: ``optim.lr: 0.0007 -> 0.0005``."""
    flat_old, flat_new = dict(_flatten(old)), dict(_flatten(new))
    missing = "(absent)"
    return [
        f"{key}: {flat_old.get(key, missing)} -> {flat_new.get(key, missing)}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(key, missing) != flat_new.get(key, missing)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value
