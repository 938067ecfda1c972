"""Pictures with label maps: a published set by its name or its layout, or any folder.

How a published set is unpacked, its folders, classes and values, is data: ``segmentation/*.yaml``.
"""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from dinotxt.config import configuration, load_config
from dinotxt.data.pictures import pictures_in
from dinotxt.data.readers import IGNORED, ImageRef, LabelValues, MaskedImage, MaskSet, read_masks
from dinotxt.errors import DataError
from dinotxt.evaluation.datasets.address import Address, choose_split, parse_address
from dinotxt.files import read_lines
from dinotxt.results.skip import OnSkip, Skip, or_raise
from dinotxt.text.class_names import class_names, name_variants

_FOLDER = Path(__file__).parent
_GENERAL = ("images", "labels", "classes.txt")


@configuration
class Split:
    """Where the files of a split lie; of several folders the first that exists counts.

    Attributes:
        images: Folders of pictures.
        labels: Folders of label maps.
        list: A file with the stems of the split, one a line; None takes every picture.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]
    list: str | None = None


@configuration
class Encoding:
    """One way in which the label maps are stored, known by the ending of their names.

    Attributes:
        suffix: What follows the stem.
        first: The value of the first class, if the values are consecutive.
        values: The value of each class, if they are not.
        ignored: Values of pixels that do not count, besides 255.
        background: The values of the background, if it is a class of its own.
    """

    suffix: str
    first: int = 0
    values: tuple[int, ...] | None = None
    ignored: tuple[int, ...] = ()
    background: tuple[int, ...] = ()

    def label_values(self, num_named: int) -> LabelValues:
        """Return the meaning of the values for so many classes with a name."""
        named = self.values or tuple(range(self.first, self.first + num_named))
        first, further = self.background[:1], self.background[1:]
        return LabelValues((*first, *named), (*self.ignored, IGNORED), further)


@configuration
class Layout:
    """A published segmentation set.

    Attributes:
        title: For people.
        source: The files to download.
        roots: Where its folders may lie below the one that the user gives.
        splits: By name; the first is the usual one.
        image_suffix: What follows the stem of a picture.
        encodings: In order of preference.
        classes: A list of ``dinotxt.text.class_names``.
        num_classes: How many of them the set has, the first ones; None: all.
    """

    title: str
    source: str
    roots: tuple[str, ...] = (".",)
    splits: dict[str, Split]
    image_suffix: str
    encodings: Annotated[tuple[Encoding, ...], Field(min_length=1)]
    classes: str
    num_classes: PositiveInt | None = None

    @property
    def background(self) -> bool:
        """Whether the first class is what no name fits."""
        return bool(self.encodings[0].background)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, the first synonym of each."""
        return self._complete(class_names(self.classes))

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Return the other ways to name them, by the name of the list."""
        return {name: self._complete(named) for name, named in name_variants(self.classes).items()}

    def _complete(self, named: tuple[str, ...]) -> tuple[str, ...]:
        background = ("background",) if self.background else ()
        return (*background, *named[: self.num_classes])

    def locate(self, folder: Path, split: str) -> tuple[Path, Path, Path | None]:
        """Return the folders of pictures and label maps of a split, and its list.

        Raises:
            DataError: If one is missing; the message names all that are, and where they come from.
        """
        best: list[str] | None = None
        for base in (folder / root for root in self.roots):
            found, missing = _find(base, self.splits[split])
            if not missing:
                return found
            if best is None or len(missing) < len(best):
                best = missing
        raise DataError(
            f"{folder} is not {self.title} ({split}): it has no {', no '.join(best or [])}. "
            f"Unpack {self.source} there."
        )


@cache
def layouts() -> dict[str, Layout]:
    """Return every published segmentation set by name."""
    paths = sorted((_FOLDER / "segmentation").glob("*.yaml"))
    return {path.stem: load_config(Layout, path) for path in paths}


def _find(base: Path, split: Split) -> tuple[tuple[Path, Path, Path | None], list[str]]:
    missing = []
    chosen = []
    for options in (split.images, split.labels):
        there = [base / option for option in options if (base / option).is_dir()]
        if not there:
            missing.append(" or ".join(f"{option}/" for option in options))
        chosen.append(there[0] if there else base)
    listing = None if split.list is None else base / split.list
    if listing is not None and not listing.is_file():
        missing.append(str(split.list))
    return (chosen[0], chosen[1], listing), missing


def open_masks(data: str | Path, *, on_skip: OnSkip | None = None) -> MaskSet:
    """Read a segmentation set.

    Args:
        data: ``NAME:FOLDER`` or ``NAME:FOLDER#SPLIT`` of a published set; the folder of one whose
            layout tells it; or a folder with ``images/``, ``labels/`` and ``classes.txt``.
        on_skip: Called for each file without its partner; None raises its error instead.

    Raises:
        DataError: If a folder or a file of the set is missing (all of them are named), or no pair
            is left.
    """
    address = parse_address(str(data), layouts())
    if address is None:
        folder = Path(data)
        if any((folder / name).exists() for name in _GENERAL[1:]) or not folder.is_dir():
            return read_masks(folder, on_skip=on_skip)
        address = _recognise(folder)
    layout = layouts()[address.name]
    split = choose_split(address.name, address.split, layout.splits)
    report = or_raise(on_skip)
    items, encoding = _pairs(layout, address.folder, split, report)
    names = layout.names()
    return MaskSet(
        items,
        names,
        values=encoding.label_values(len(names) - layout.background),
        variants=layout.variants(),
        background=layout.background,
        name=address.name,
    )


def _recognise(folder: Path) -> Address:
    """Find the set whose usual split lies in a folder."""
    for name, layout in sorted(layouts().items(), key=lambda pair: pair[1].background):
        try:
            layout.locate(folder, next(iter(layout.splits)))
        except DataError:
            continue
        return Address(name, folder)
    raise DataError(
        f"{folder} has neither images/, labels/ and classes.txt nor the layout of a published set: "
        f"name the set to hear what is missing, as in ade20k:{folder}. There are "
        f"{', '.join(layouts())}."
    )


def _pairs(
    layout: Layout, folder: Path, split: str, report: OnSkip
) -> tuple[tuple[MaskedImage, ...], Encoding]:
    images, labels, listing = layout.locate(folder, split)
    pictures = _by_stem(images, layout.image_suffix, report)
    stems = _listed(listing, pictures, report) if listing is not None else sorted(pictures)
    for encoding in layout.encodings:
        maps = _by_stem(labels, encoding.suffix, report)
        pairs = [stem for stem in stems if stem in maps]
        if pairs:
            break
    else:
        endings = " or ".join(f"*{encoding.suffix}" for encoding in layout.encodings)
        raise DataError(
            f"{labels} has no label map {endings} for a picture *{layout.image_suffix} of {images}:"
            f" unpack {layout.source} there."
        )
    for stem in stems:
        if stem not in maps:
            report(Skip(str(pictures[stem]), "half a pair: it has no label map"))
    items = (
        MaskedImage(stem, ImageRef(str(pictures[stem])), ImageRef(str(maps[stem])))
        for stem in sorted(pairs)
    )
    return tuple(items), encoding


def _listed(listing: Path, pictures: dict[str, Path], report: OnSkip) -> list[str]:
    stems = [line for line in read_lines(listing) if line]
    for stem in stems:
        if stem not in pictures:
            report(Skip(stem, f"{listing.name} names it, but there is no such picture"))
    return [stem for stem in stems if stem in pictures]


def _by_stem(folder: Path, suffix: str, report: OnSkip) -> dict[str, Path]:
    """Return files by their path below the folder without the suffix."""
    ending = {f".{suffix.rpartition('.')[2].lower()}"}
    return {
        path.relative_to(folder).as_posix().removesuffix(suffix): path
        for path in pictures_in(folder, report, endings=ending, results=True)
        if path.name.endswith(suffix)
    }
