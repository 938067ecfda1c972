"""Places205: ``val_places205.csv`` (``a/abbey/gsun_1.jpg 0``) and the folders that it names."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from dinotxt.data.readers import ImageRef, LabelledImage, LabelledSet, read_lines
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

_LISTS = (".", "trainvalsplit_places205", "trainvalsplit")
_PICTURES = ("data/vision/torralba/deeplearning/images256", "images256", ".")


def read_places205(folder: Path, report: Callable[[Skip], None], split: str = "val") -> LabelledSet:
    """Read a split of Places205; the names are those of the folders, without the first letter.

    Raises:
        DataError: If the list or the pictures are missing.
    """
    file = f"{split}_places205.csv"
    listing = next((folder / one / file for one in _LISTS if (folder / one / file).is_file()), None)
    if listing is None:
        raise DataError(
            f"{folder} is not Places205: it has no {file}. Unpack trainvalsplit_places205 there."
        )
    rows = [row for line in read_lines(listing) if line and (row := _row(line, listing, report))]
    if not rows:
        raise DataError(f"{listing} has no line such as `a/abbey/gsun_1.jpg 0`.")
    roots = [folder / one for one in _PICTURES]
    root = next((root for root in roots if (root / rows[0][0]).is_file()), None)
    if root is None:
        raise DataError(f"{rows[0][0]} is not in {roots[0]}: unpack imagesPlaces205_resize there.")
    names: dict[int, str] = {}
    for name, label in rows:
        names.setdefault(label, _name(name))
    gaps = sorted(set(range(max(names) + 1)) - names.keys())
    if gaps:
        raise DataError(f"{listing} has no picture of the class {gaps[0]}: it is not whole.")
    items = (LabelledImage(name, ImageRef(str(root / name)), label) for name, label in rows)
    return LabelledSet(
        tuple(items), tuple(names[label] for label in sorted(names)), name="places205"
    )


def _row(line: str, listing: Path, report: Callable[[Skip], None]) -> tuple[str, int] | None:
    name, _, label = line.rpartition(" ")
    if name and label.isascii() and label.isdigit():
        return name, int(label)
    report(Skip(f"{listing}: {line[:60]}", "it is not a path and a number"))
    return None


def _name(path: str) -> str:
    """Return the class of a path: ``a/apartment_building/outdoor/x.jpg`` -> the two folders."""
    return " ".join(PurePosixPath(path).parent.parts[1:])
