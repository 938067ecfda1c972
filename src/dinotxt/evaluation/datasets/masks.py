"""Pictures with label maps: a published set by its name or its layout, or any folder."""

from collections.abc import Callable
from pathlib import Path

from dinotxt.data.readers import ImageRef, MaskedImage, MaskSet, or_raise, read_lines, read_masks
from dinotxt.errors import DataError
from dinotxt.evaluation.datasets.address import Address, choose_split, parse_address
from dinotxt.evaluation.datasets.layout import Encoding, Layout, layouts
from dinotxt.results.skip import Skip

_GENERAL = ("images", "labels", "classes.txt")


def open_masks(data: str | Path, *, on_skip: Callable[[Skip], None] | None = None) -> MaskSet:
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
    layout: Layout, folder: Path, split: str, report: Callable[[Skip], None]
) -> tuple[tuple[MaskedImage, ...], Encoding]:
    images, labels, listing = layout.locate(folder, split)
    pictures = _by_stem(images, layout.image_suffix)
    stems = _listed(listing, pictures, report) if listing is not None else sorted(pictures)
    for encoding in layout.encodings:
        maps = _by_stem(labels, encoding.suffix)
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


def _listed(listing: Path, pictures: dict[str, Path], report: Callable[[Skip], None]) -> list[str]:
    stems = [line for line in read_lines(listing) if line]
    for stem in stems:
        if stem not in pictures:
            report(Skip(stem, f"{listing.name} names it, but there is no such picture"))
    return [stem for stem in stems if stem in pictures]


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Return files by their path below the folder without the suffix."""
    return {
        path.relative_to(folder).as_posix().removesuffix(suffix): path
        for path in folder.rglob(f"*{suffix}")
        if path.is_file() and not path.name.startswith(".")
    }
