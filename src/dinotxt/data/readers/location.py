"""Which files a ``--data`` value means: globs, braces and the folders that pictures lie in."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from dinotxt.data.pictures import folders_in
from dinotxt.errors import DataError
from dinotxt.files import refuse_address
from dinotxt.results.skip import OnSkip, Skip

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_EXPANSION = 1_000_000


def expand(pattern: str, report: OnSkip) -> list[Path]:
    """Return the files that a path with globs and braces means, in order, each once.

    ``shard-{000..005}.tar`` counts, ``{a,b}`` lists, ``*`` and ``**`` match.

    Args:
        pattern: The path.
        report: Called for each brace that names a missing file.

    Raises:
        DataError: If nothing matches.
    """
    refuse_address(pattern)
    if Path(pattern).exists():
        return [Path(pattern)]
    found: dict[Path, None] = {}
    missing: list[str] = []
    for candidate in expand_braces(pattern):
        matches = sorted(glob.glob(candidate, recursive=True))  # noqa: PTH207 (absolute too)
        found.update(dict.fromkeys(map(Path, matches)))
        if not matches:
            missing.append(candidate)
    if not found:
        raise DataError(f"{pattern} does not exist, and as a pattern it matches nothing.")
    for candidate in missing:
        report(Skip(candidate, "does not exist"))
    return list(found)


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{a,b}`` and ``{000..012}`` as a shell does; the width of the first number is kept.

    Raises:
        DataError: If that gives more than a million names.
    """
    match = next((m for m in _BRACES.finditer(pattern) if _choices(m[1]) is not None), None)
    if match is None:
        return [pattern]
    choices = _choices(match[1]) or []
    tails = expand_braces(pattern[match.end() :])
    if len(choices) * len(tails) > _MAX_EXPANSION:
        raise DataError(f"{pattern} means more than {_MAX_EXPANSION} files: use a glob.")
    head = pattern[: match.start()]
    return [head + choice + tail for choice in choices for tail in tails]


def _choices(content: str) -> list[str] | None:
    match = _RANGE.fullmatch(content)
    if match:
        first, last = int(match[1]), int(match[2])
        if abs(last - first) > _MAX_EXPANSION:
            raise DataError(f"{{{content}}} means more than {_MAX_EXPANSION} files: use a glob.")
        numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
        return [str(number).zfill(len(match[1])) for number in numbers]
    return content.split(",") if "," in content else None


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match a pattern, by name, less hidden ones."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def image_root(names: Sequence[str], start: Path) -> Path:
    """Find the folder that holds pictures which an annotation file names without a folder.

    Args:
        names: The names; one of them must exist.
        start: The folder of the annotation file. It, its parent and the folders in both are tried.

    Raises:
        DataError: If none holds any of the names.
    """
    candidates = []
    for base in (start, start.parent):
        candidates += [base, *folders_in(base)]
        candidates += folders_in(base / "images") if (base / "images").is_dir() else []
    for root in candidates:
        if any((root / name).is_file() for name in names):
            return root
    raise DataError(
        f"{names[0] if names else 'No picture'} was not found in {start}, beside it or in the "
        "folders of either: put the pictures there."
    )
