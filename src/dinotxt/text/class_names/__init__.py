"""Lists of class names: those of published data sets, or a file with one a line.

The lists of ADE20K (CSAILVision's ``objectInfo150.txt``), Cityscapes (cityscapesScripts),
COCO-Stuff (``labels.txt`` without the eleven unused ones), Pascal VOC and Pascal Context
(mmsegmentation's order) and CamVid (as in SegNet) stand in text files beside this one, as do the
paper's optimised names of ADE20K (Table 10); ImageNet's are CLIP's (``text.published``).
"""

from collections.abc import Mapping
from pathlib import Path

from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_lines
from dinotxt.text.published import published_lines

_FOLDER = Path(__file__).parent
# Where mmsegmentation (and so TCL) does not take the first synonym of objectInfo150.txt.
_MMSEG = {"ade20k": {"television": "television receiver"}}
_WHOLE_ENTRIES = {"ade20k-optimised"}  # each entry of Table 10 is one text
_COMPOUNDS = {
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
    "playingfield": "playing field",
}
_REST = ("-other", "-stuff")


def class_names(source: str | Path) -> tuple[str, ...]:
    """Return class names in the order of their labels.

    Args:
        source: ``imagenet``, one of ``shipped_lists()``, such a name with a variant after a colon
            (``ade20k:full``), or a file with one name a line (``a | b`` for synonyms).

    Raises:
        ConfigError: If the name is not known, or the file is unreadable, empty or has an empty
            line, which would shift the labels after it.
    """
    if source == "imagenet":
        return published_lines("imagenet.txt")
    name, _, variant = str(source).partition(":")
    if name in shipped_lists():
        known = name_variants(name)
        variant = variant or ("full" if name in _WHOLE_ENTRIES else "first")
        if variant not in known:
            raise ConfigError(f"{name} has no names {variant!r}: give {', '.join(known)}.")
        return known[variant]
    return _read(Path(source))


def shipped_lists() -> tuple[str, ...]:
    """Return the names of the lists that come with the package, besides ``imagenet``."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))


def name_variants(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return every way to name the classes of a shipped list.

    ``first``: the first synonym; ``full``: the whole entry as one text (``building, edifice``);
    ``synonyms``: all of them, to be averaged (``building | edifice``); ``words``: the first one
    with compounds taken apart (``dining table``, ``building`` for ``building-other``; our own);
    ``mmseg``: mmsegmentation's, where they are others than ``first``.
    """
    full = _read(_FOLDER / f"{name}.txt")
    parts = [tuple(part.strip() for part in line.split(",")) for line in full]
    first = tuple(synonyms[0] for synonyms in parts)
    variants = {
        "first": first,
        "full": full,
        "synonyms": tuple(" | ".join(dict.fromkeys(synonyms)) for synonyms in parts),
        "words": tuple(_as_words(label) for label in first),
    }
    if name in _MMSEG:
        variants["mmseg"] = tuple(_MMSEG[name].get(label, label) for label in first)
    return variants


def _as_words(label: str) -> str:
    for ending in _REST:
        label = label.removesuffix(ending)
    return _COMPOUNDS.get(label, label).replace("-", " ")


def _read(path: Path) -> tuple[str, ...]:
    try:
        lines = read_lines(path)
    except DataError as error:
        known = ", ".join(("imagenet", *shipped_lists()))
        raise ConfigError(
            f"{str(path)!r} is neither a list of class names ({known}) nor a readable file of them "
            f"({error.__cause__})."
        ) from None
    for number, line in enumerate(lines, 1):
        if not line:
            raise ConfigError(f"{path}:{number} is empty: give each class a line.")
    if not lines:
        raise ConfigError(f"{path} is empty: give each class a line.")
    return lines
