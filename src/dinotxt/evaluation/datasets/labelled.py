"""Pictures with a class each: a published set by its name or its layout, or any other form."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dinotxt.data.readers import ImageRef, LabelledImage, LabelledSet, read_labelled
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.datasets.address import Address, choose_split, parse_address
from dinotxt.evaluation.datasets.cifar import read_cifar10, read_cifar100
from dinotxt.evaluation.datasets.imagenet import read_imagenet, read_imagenet_a, read_imagenet_v2
from dinotxt.evaluation.datasets.inaturalist import read_inaturalist
from dinotxt.evaluation.datasets.objectnet import read_objectnet
from dinotxt.files import read_lines
from dinotxt.results.skip import OnSkip, Skip, or_raise

_LISTS = (".", "trainvalsplit_places205", "trainvalsplit")
_PICTURES = ("data/vision/torralba/deeplearning/images256", "images256", ".")


def read_places205(folder: Path, report: OnSkip, split: str = "val") -> LabelledSet:
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
    rows = [row for line in read_lines(listing) if line and (row := _listed(line, listing, report))]
    if not rows:
        raise DataError(f"{listing} has no line such as `a/abbey/gsun_1.jpg 0`.")
    roots = [folder / one for one in _PICTURES]
    root = next((root for root in roots if (root / rows[0][0]).is_file()), None)
    if root is None:
        raise DataError(f"{rows[0][0]} is not in {roots[0]}: unpack imagesPlaces205_resize there.")
    names: dict[int, str] = {}
    for name, label in rows:
        names.setdefault(label, _place_name(name))
    gaps = sorted(set(range(max(names) + 1)) - names.keys())
    if gaps:
        raise DataError(f"{listing} has no picture of the class {gaps[0]}: it is not whole.")
    items = (LabelledImage(name, ImageRef(str(root / name)), label) for name, label in rows)
    return LabelledSet(
        tuple(items), tuple(names[label] for label in sorted(names)), name="places205"
    )


def _listed(line: str, listing: Path, report: OnSkip) -> tuple[str, int] | None:
    name, _, label = line.rpartition(" ")
    if name and label.isascii() and label.isdigit():
        return name, int(label)
    report(Skip(f"{listing}: {line[:60]}", "it is not a path and a number"))
    return None


def _place_name(path: str) -> str:
    """Return the class of a path: ``a/apartment_building/outdoor/x.jpg`` -> the two folders."""
    return " ".join(PurePosixPath(path).parent.parts[1:])


@dataclass(frozen=True, slots=True)
class _Source:
    """A published set.

    Attributes:
        read: From folder, split, border and report to the pictures.
        splits: The first is the usual one.
        markers: Files of which any tells the set; none if it must be named.
    """

    read: Callable[[Path, str, int, OnSkip], LabelledSet]
    splits: tuple[str, ...]
    markers: tuple[str, ...] = ()


_SOURCES = {
    "cifar10": _Source(
        lambda folder, split, *_: read_cifar10(folder, split),
        ("test", "train"),
        ("batches.meta.txt", "batches.meta", "cifar-10-batches-bin", "cifar-10-batches-py"),
    ),
    "cifar100": _Source(
        lambda folder, split, *_: read_cifar100(folder, split),
        ("test", "train"),
        ("fine_label_names.txt", "cifar-100-binary", "cifar-100-python"),
    ),
    "imagenet": _Source(
        lambda folder, _split, _border, report: read_imagenet(folder, report),
        ("val",),
        ("LOC_val_solution.csv",),
    ),
    "imagenet-a": _Source(
        lambda folder, _split, _border, report: read_imagenet_a(folder, report), ("test",)
    ),
    "imagenet-v2": _Source(
        lambda folder, _split, _border, report: read_imagenet_v2(folder, report), ("test",)
    ),
    "inaturalist2021": _Source(
        lambda folder, split, _border, report: read_inaturalist(folder, report, split),
        ("val", "train_mini", "train"),
    ),
    "objectnet": _Source(
        lambda folder, _split, border, report: read_objectnet(folder, report, border),
        ("test",),
        ("mappings/folder_to_objectnet_label.json", "objectnet-1.0"),
    ),
    "places205": _Source(
        lambda folder, split, _border, report: read_places205(folder, report, split),
        ("val", "train"),
        ("val_places205.csv", "trainvalsplit_places205/val_places205.csv"),
    ),
}


def open_labelled(
    data: str | Path, *, trim_border: int = 0, on_skip: OnSkip | None = None
) -> LabelledSet:
    """Read a classification set.

    Args:
        data: ``NAME:FOLDER`` or ``NAME:FOLDER#SPLIT`` of a published set, its folder where a file
            in it tells the set, or any form that ``read_labelled`` takes.
        trim_border: Pixels to cut off on each side; for ObjectNet.
        on_skip: Called for each record that cannot be used; None raises its error instead.

    Raises:
        ConfigError: If a border is to be cut off other data.
        DataError: If a part of the set is missing or no picture is left.
    """
    address = parse_address(str(data), _SOURCES) or _recognise(Path(data))
    if trim_border and (address is None or address.name != "objectnet"):
        raise ConfigError("trim_border goes with ObjectNet: give it as objectnet:FOLDER.")
    if address is None:
        return read_labelled(data, on_skip=on_skip)
    source = _SOURCES[address.name]
    split = choose_split(address.name, address.split, source.splits)
    found = source.read(address.folder, split, trim_border, or_raise(on_skip))
    if not found.items:
        raise DataError(f"{address.folder} has no picture of {address.name} ({split}).")
    return found


def _recognise(folder: Path) -> Address | None:
    for name, source in _SOURCES.items():
        if any((folder / marker).exists() for marker in source.markers):
            return Address(name, folder)
    return None
