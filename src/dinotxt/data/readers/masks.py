"""Pictures with a label map each: ``images/``, ``labels/`` and ``classes.txt``, paired by stem.

The value of a pixel is the line of its class in ``classes.txt``, from 0; 255 is ignored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import (
    EXTENSIONS,
    decoding,
    open_undecoded,
    pictures_in,
    read_array,
    upright,
)
from dinotxt.data.readers.record import ImageRef
from dinotxt.errors import DataError
from dinotxt.files import read_lines
from dinotxt.results.skip import OnSkip, Skip, or_raise

IGNORED = 255
_FEW_BITS = re.compile("1(?:;.*)?|L;([24]).*")
_LABELS = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".npy"})


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The meaning of the values of a label map.

    Attributes:
        classes: The value of each class, in the order of the classes.
        ignored: Values of pixels that do not count; 255 is one unless it stands for the background.
        background: Further values of the first class, where that is the background.
    """

    classes: tuple[int, ...]
    ignored: tuple[int, ...] = (IGNORED,)
    background: tuple[int, ...] = ()

    def decode(self, stored: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """Return class numbers and 255 for ignored pixels, int64, in the shape of ``stored``.

        Args:
            stored: The values of a file.
            name: The file's name, for messages.

        Raises:
            DataError: If a value is neither a class nor ignored.
        """
        highest = max(*self.classes, *self.ignored, *self.background, IGNORED)
        table = np.full(highest + 2, -1, dtype=np.int64)
        table[list(self.classes)] = np.arange(len(self.classes))
        table[[IGNORED, *self.ignored]] = IGNORED
        table[list(self.background)] = 0
        inside = (stored >= 0) & (stored <= highest)
        decoded = table[np.where(inside, stored, highest + 1)]
        wrong = decoded < 0
        if wrong.any():
            raise DataError(f"{name} has the value {stored[wrong][0]}: {self._known()}")
        return decoded

    def _known(self) -> str:
        first, last = min(self.classes), max(self.classes)
        if self.classes != tuple(range(first, last + 1)):
            return f"it is none of the {len(self.classes)} values of classes, nor ignored."
        ignored = ", ".join(map(str, sorted({*self.ignored, IGNORED})))
        return f"values go from {first} to {last} (the classes, in order); ignored: {ignored}."


@dataclass(frozen=True, slots=True)
class MaskedImage:
    """A picture and its label map.

    Attributes:
        key: The stem of both files, with the folders above it.
        image: Where the picture lies.
        mask: Where the label map lies.
    """

    key: str
    image: ImageRef
    mask: ImageRef


@dataclass(frozen=True, slots=True)
class MaskSet:
    """Pictures with label maps.

    Attributes:
        items: The pictures.
        class_names: One for each class, such as the lines of ``classes.txt``.
        values: What the pixels of the label maps stand for; None: the number of their class.
        variants: Other names of the classes, by the name of the list.
        background: Whether the first class is what no name fits.
        name: Of a published data set.
    """

    items: tuple[MaskedImage, ...]
    class_names: tuple[str, ...]
    values: LabelValues | None = None
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    background: bool = False
    name: str | None = None

    def truth(self, item: MaskedImage, size: tuple[int, int] | None = None) -> NDArray[np.int64]:
        """Return the label map of a picture, see ``read_mask``."""
        return read_mask(item.mask, len(self.class_names), size=size, values=self.values)


def read_masks(folder: str | Path, *, on_skip: OnSkip | None = None) -> MaskSet:
    """Pair the pictures and the label maps of a folder.

    Args:
        folder: It holds ``images/``, ``labels/`` and ``classes.txt``.
        on_skip: Called for each file without its partner; None raises its error instead.

    Raises:
        DataError: If one of the three is missing or no pair is left.
    """
    root, report = Path(folder), or_raise(on_skip)
    for name in ("images", "labels", "classes.txt"):
        if not (root / name).exists():
            raise DataError(f"{root} has no {name}: it needs images/, labels/ and classes.txt.")
    images = _by_stem(root / "images", EXTENSIONS, report)
    masks = _by_stem(root / "labels", _LABELS, report, results=True)
    for key in sorted(images.keys() ^ masks.keys()):
        lone, missing = (images[key], "label map") if key in images else (masks[key], "picture")
        report(Skip(str(lone), f"half a pair: it has no {missing}"))
    items = [
        MaskedImage(key, ImageRef(str(images[key])), ImageRef(str(masks[key])))
        for key in sorted(images.keys() & masks.keys())
    ]
    if not items:
        raise DataError(f"{root} has no picture with a label map of the same stem.")
    class_names = read_lines(root / "classes.txt")
    if not class_names or not all(class_names):
        raise DataError(f"{root / 'classes.txt'} is empty or has an empty line.")
    return MaskSet(tuple(items), class_names)


def read_mask(
    mask: ImageRef | str | Path,
    num_classes: int,
    *,
    size: tuple[int, int] | None = None,
    values: LabelValues | None = None,
) -> NDArray[np.int64]:
    """Return a label map, int64 ``[H, W]``, every value below ``num_classes`` or 255.

    Args:
        mask: A single-channel picture, a palette picture (its indices count) or a ``.npy`` file.
        num_classes: The number of classes.
        size: Width and height of its picture, which must be its own.
        values: What its values stand for; None: the class of that number, 255 is ignored.

    Raises:
        DataError: If it cannot be read, is a picture in colours, has another size or another
            value; file and value are named.
    """
    ref = mask if isinstance(mask, ImageRef) else ImageRef(str(mask))
    labels = _read_labels(ref)
    if size is not None and labels.shape != (size[1], size[0]):
        raise DataError(
            f"{ref.name} is {labels.shape[1]}x{labels.shape[0]}, its picture {size[0]}x{size[1]}: "
            "make the label map at the size of the picture."
        )
    known = values or LabelValues(tuple(range(num_classes)))
    return known.decode(labels, ref.name)


def _read_labels(ref: ImageRef) -> NDArray[np.int64]:
    if ref.path.endswith(".npy"):
        array = read_array(ref)
    else:
        image = open_undecoded(ref)
        few = _FEW_BITS.fullmatch(_stored_mode(image))
        array = _numbers(image, few, ref) if few or image.mode == "P" else read_array(ref)
    if array.shape[2] != 1 or array.dtype.kind not in "ui":
        raise DataError(
            f"{ref.name} has {array.shape[2]} channels of {array.dtype}: a label map has one, "
            "of whole numbers. Save the number of each pixel's class, not its colour, as a grey "
            "or palette PNG."
        )
    return array[:, :, 0].astype(np.int64)


def _stored_mode(image: Image.Image) -> str:
    """Return how Pillow calls the pixels of a file: ``L;2`` is grey of two bits."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _numbers(
    image: Image.Image, few: re.Match[str] | None, ref: ImageRef
) -> NDArray[np.unsignedinteger]:
    """Return indices of a palette, or grey of 1, 2 or 4 bits as it is stored.

    Elsewhere the indices become colours, and grey is stretched to 8 bits.
    """
    with decoding(ref.name):
        image.load()
        array = np.asarray(upright(image)).astype(np.uint8)
    if few and image.mode == "L":
        array //= 255 // (2 ** int(few[1]) - 1)
    return array[:, :, None]


def _by_stem(
    folder: Path, endings: frozenset[str], report: OnSkip, *, results: bool = False
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in pictures_in(folder, report, endings=endings, results=results):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            report(Skip(str(path), f"{found[key].name} has the same stem"))
        else:
            found[key] = path
    return found
