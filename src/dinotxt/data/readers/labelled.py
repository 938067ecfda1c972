"""Pictures with a class each: folders of classes, tars with ``.cls`` files, tables with labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinotxt.data.pictures import folders_in, is_ours, pictures_in
from dinotxt.data.readers.location import expand
from dinotxt.data.readers.pairs import find_tars
from dinotxt.data.readers.record import ImageRef, LabelledImage
from dinotxt.data.readers.sample import tar_samples
from dinotxt.data.readers.table import TABLES, Row, read_labels
from dinotxt.errors import DataError
from dinotxt.files import read_lines, read_mark
from dinotxt.results.skip import OnSkip, Skip, or_raise

_CLASS_FILES = ("classnames.txt", "classes.txt")
_SPLITS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "images"}
)
_MAX_GAPS = 1000  # classes without a folder of their own
_TEMPLATE_FILE = "zeroshot_classification_templates.txt"


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Pictures with labels.

    Attributes:
        items: The pictures.
        class_names: The name of each label; empty if the data do not say.
        templates: The prompt templates that came with the data (CLIP_benchmark), with ``{}``.
        variants: Other names of the classes, by the name of the list.
        name: Of a published data set.
    """

    items: tuple[LabelledImage, ...]
    class_names: tuple[str, ...]
    templates: tuple[str, ...] = ()
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str | None = None


def read_labelled(data: str | Path, *, on_skip: OnSkip | None = None) -> LabelledSet:
    """Read pictures with a class each; pictures stay on the disk until they are opened.

    Args:
        data: A folder of class folders, tars with ``{key}.cls``, a CLIP_benchmark folder, or a
            table with a path and a label column. Names of classes in tars and tables with numbers
            come from ``classnames.txt`` beside them.
        on_skip: Called for each record that cannot be used; None raises its error instead.

    Raises:
        DataError: If the form is not known, no picture is left or a label has no name.
    """
    report = or_raise(on_skip)
    tars = find_tars(str(data), report)
    if tars:
        found = _from_tars(tars, report)
    elif Path(data).is_dir():
        found = _from_folders(Path(data), report)
    else:
        found = _from_table(expand(str(data), report), report)
    if not found.items:
        raise DataError(f"{data} has no usable labelled pictures.")
    highest = max(item.label for item in found.items)
    if max(highest + 1, len(found.class_names)) < 2:
        raise DataError(f"{data} has one class ({', '.join(found.class_names)}): give two or more.")
    if found.class_names and highest >= len(found.class_names):
        raise DataError(
            f"{data} has the label {highest} but names {len(found.class_names)} classes: "
            f"complete {_CLASS_FILES[0]}."
        )
    return found


def _from_folders(folder: Path, report: OnSkip) -> LabelledSet:
    classes = [path for path in folders_in(folder) if not is_ours(read_mark(path))]
    names = [path.name for path in classes]
    if not classes:
        raise DataError(f"{folder} has neither tars nor a folder for each class.")
    if {name.lower() for name in names} <= _SPLITS:
        raise DataError(
            f"{folder} has the folders {', '.join(names)}, which are splits and no classes: give "
            f"one of them, such as {classes[0]}."
        )
    labels = _numbered(names)
    items = []
    for path in sorted(classes, key=lambda path: labels[path.name]):
        label = labels[path.name]
        images = list(pictures_in(path, report))
        if not images:
            report(Skip(str(path), "the class has no picture"))
        items += [
            LabelledImage(image.relative_to(folder).as_posix(), ImageRef(str(image)), label)
            for image in images
        ]
    named = {label: name for name, label in labels.items()}
    return LabelledSet(
        tuple(items), tuple(named.get(label, str(label)) for label in range(max(named) + 1))
    )


def _numbered(names: list[str]) -> dict[str, int]:
    """Return the label of each class folder: its number, where all names are numbers from 0 or 1.

    Others count in the order of their names, those of years and the like in that of the numbers.
    """
    numbers = {name: int(name) for name in names if name.isascii() and name.isdigit()}
    if len(set(numbers.values())) < len(names):
        return {name: label for label, name in enumerate(names)}
    first, last = min(numbers.values()), max(numbers.values())
    if first > 1 or last - first >= _MAX_GAPS + len(names):
        return {name: label for label, name in enumerate(sorted(names, key=int))}
    return {name: number - first for name, number in numbers.items()}


def _from_tars(tars: list[Path], report: OnSkip) -> LabelledSet:
    items = []
    for sample in tar_samples(tars, report):
        if not {"image", "cls"} <= sample.parts.keys():
            missing = ".cls file" if "image" in sample.parts else "picture"
            report(Skip(sample.name, sample.lacks(missing)))
            continue
        try:
            items.append(LabelledImage(sample.key, sample.parts["image"], sample.label()))
        except DataError as error:
            report(Skip(sample.name, str(error)))
    folder = tars[0].parent
    templates = _beside(folder, (_TEMPLATE_FILE,))
    return LabelledSet(
        tuple(items),
        _beside(folder, _CLASS_FILES),
        tuple(line.replace("{c}", "{}") for line in templates if line),
    )


def _from_table(paths: list[Path], report: OnSkip) -> LabelledSet:
    rows = []
    for path in paths:
        if path.suffix.lower() not in TABLES:
            raise DataError(f"{path} is neither a folder, a tar nor a table: {sorted(TABLES)}.")
        rows += list(read_labels(path, report))
    numbers = [_as_number(row.value) for row in rows]
    if all(number is not None for number in numbers):
        rows, numbers = _of_a_class(rows, numbers, report)
        names = _beside(paths[0].parent, _CLASS_FILES)
        labels = [number or 0 for number in numbers]
    else:
        names = tuple(sorted({str(row.value) for row in rows}))
        order = {name: label for label, name in enumerate(names)}
        labels = [order[str(row.value)] for row in rows]
    items = [
        LabelledImage(row.key, row.image, label) for row, label in zip(rows, labels, strict=True)
    ]
    return LabelledSet(tuple(items), names)


def _of_a_class(
    rows: list[Row], numbers: list[int | None], report: OnSkip
) -> tuple[list[Row], list[int | None]]:
    """Leave out rows whose number is below 0, which says that the class is not known."""
    kept = [place for place, number in enumerate(numbers) if (number or 0) >= 0]
    for row, number in zip(rows, numbers, strict=True):
        if (number or 0) < 0:
            report(Skip(row.image.name, f"the label {number} is no class"))
    return [rows[place] for place in kept], [numbers[place] for place in kept]


def _as_number(value: Any) -> int | None:
    """Return a whole number, also one that came through a table as ``1.0``."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _beside(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines of the first of these files in a folder or its parent."""
    for path in (base / name for base in (folder, folder.parent) for name in names):
        if path.is_file():
            return read_lines(path)
    return ()
