"""Pictures with captions: a published retrieval set by its name, or any form of pairs.

COCO has two test sets of 5,000 pictures that papers mix up: Karpathy's, of val2014, and val2017.
They are two data sets here. Flickr8k and Flickr30k also come as ``*.token`` files, whose lines are
``1000268201_693b08cb0e.jpg#0``, a tab and a caption.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dinotxt.data.readers import Captioned, ImageRef, Pair, image_root, read_pairs
from dinotxt.errors import DataError
from dinotxt.evaluation.datasets.address import Address, choose_split, parse_address
from dinotxt.files import read_lines
from dinotxt.results.skip import OnSkip, Skip, or_raise

_KARPATHY = ("test", "val", "train")
_PROBES = 5


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pictures with captions.

    Attributes:
        pairs: The pictures.
        name: Of a published data set.
        captions: How many captions of a picture count, the first ones; None: all.
    """

    pairs: tuple[Pair, ...]
    name: str | None = None
    captions: int | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """A published set.

    Attributes:
        archives: What to unpack.
        files: Caption files that ``read_pairs`` reads, any of which will do; ``{}`` is the split.
        splits: The first is the usual one.
        tokens: A file of captions and the list of each split, in the older form.
        captions: How many captions of a picture count (CLIP_benchmark and the papers: five).
    """

    archives: str
    files: tuple[str, ...]
    splits: tuple[str, ...]
    tokens: tuple[str, dict[str, str]] | None = None
    captions: int | None = 5


_SOURCES = {
    "coco-karpathy": _Source(
        "val2014.zip and Karpathy's caption_datasets.zip",
        ("dataset_coco.json#{}", "annotations/dataset_coco.json#{}", "coco_{}_karpathy.json"),
        _KARPATHY,
    ),
    "coco-val2017": _Source(
        "val2017.zip and annotations_trainval2017.zip",
        ("annotations/captions_val2017.json", "captions_val2017.json"),
        ("val",),
    ),
    "flickr30k": _Source(
        "flickr30k-images.tar.gz and Karpathy's caption_datasets.zip",
        ("dataset_flickr30k.json#{}",),
        _KARPATHY,
    ),
    "flickr8k": _Source(
        "Flickr8k_Dataset.zip and Flickr8k_text.zip",
        ("dataset_flickr8k.json#{}",),
        _KARPATHY,
        tokens=(
            "Flickr8k.token.txt",
            {"test": "Flickr_8k.testImages.txt", "val": "Flickr_8k.devImages.txt"}
            | {"train": "Flickr_8k.trainImages.txt"},
        ),
    ),
}


def open_pairs(data: str | Path, *, on_skip: OnSkip | None = None) -> PairSet:
    """Read a retrieval set.

    Args:
        data: ``NAME:FOLDER`` or ``NAME:FOLDER#SPLIT`` of a published set, or any form that
            ``read_pairs`` takes; a file with a published set's own name is recognised, and all
            of its captions count. A Karpathy file without a split gives ``test``.
        on_skip: Called for each record that cannot be used; None raises its error instead.

    Raises:
        DataError: If a file of the set is missing or no pair is left.
    """
    address = parse_address(str(data), _SOURCES)
    if address is None:
        pairs = read_pairs(data, on_skip=on_skip, default_split=_KARPATHY[0])
        return PairSet(tuple(pairs), _recognise(str(data)))
    source = _SOURCES[address.name]
    split = choose_split(address.name, address.split, source.splits)
    pairs = _read(address, source, split, on_skip)
    count = source.captions
    cut = (replace(pair, captions=pair.captions[:count]) for pair in pairs)
    return PairSet(tuple(cut), address.name, count)


def _read(address: Address, source: _Source, split: str, on_skip: OnSkip | None) -> list[Pair]:
    for pattern in source.files:
        name = pattern.format(split)
        if (address.folder / name.partition("#")[0]).is_file():
            return read_pairs(address.folder / name, on_skip=on_skip)
    if source.tokens is not None and (address.folder / source.tokens[0]).is_file():
        return list(_from_tokens(address.folder, source.tokens, split, on_skip))
    wanted = [pattern.format(split).partition("#")[0] for pattern in source.files]
    wanted += [] if source.tokens is None else [source.tokens[0]]
    raise DataError(
        f"{address.folder} is not {address.name}: it has no {' or '.join(wanted)}. Unpack "
        f"{source.archives} there."
    )


def _from_tokens(
    folder: Path,
    tokens: tuple[str, dict[str, str]],
    split: str,
    on_skip: OnSkip | None,
) -> Iterator[Pair]:
    listing = folder / tokens[1][split]
    if not listing.is_file():
        raise DataError(f"{folder} has {tokens[0]} but not {listing.name}: put it there.")
    for key, image, captions in read_tokens(folder / tokens[0], or_raise(on_skip), listing):
        yield Pair(key, image, captions)


def _recognise(data: str) -> str | None:
    """Return the published set that a caption file is by its name."""
    for name, source in _SOURCES.items():
        files = {Path(pattern.format(source.splits[0])).name for pattern in source.files}
        if Path(data).name in files:
            return name
    return None


def read_tokens(path: Path, report: OnSkip, listing: Path | None = None) -> Iterator[Captioned]:
    """Yield (key, image, captions) in the order of the file.

    Args:
        path: The file of captions.
        report: Called for a line that is none, and for a name of the list without a caption.
        listing: A file with the names of the pictures to use, one a line.

    Raises:
        DataError: If a file cannot be read or the pictures are not found.
    """
    wanted = None if listing is None else {line for line in read_lines(listing) if line}
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, tab, caption = line.partition("\t")
        name = name.partition("#")[0]
        if not tab or not caption.strip():
            report(Skip(f"{path}:{number}", "it is not a name, a tab and a caption"))
        elif wanted is None or name in wanted:
            captions.setdefault(name, []).append(caption.strip())
    for name in sorted((wanted or set()) - captions.keys()):
        report(Skip(name, f"{path.name} has no caption of it"))
    root = image_root(list(captions)[:_PROBES], path.parent)
    for name, found in captions.items():
        yield name, ImageRef(str(root / name)), tuple(found)
