"""Caption files in JSON: COCO's ``captions_*.json`` and Karpathy's ``dataset_*.json``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinotxt.data.readers.location import image_root
from dinotxt.data.readers.record import ImageRef
from dinotxt.data.readers.sample import clean_captions
from dinotxt.data.readers.table import read_captions
from dinotxt.errors import DataError
from dinotxt.files import read_json
from dinotxt.results.skip import OnSkip, Skip

Captioned = tuple[str, ImageRef, tuple[str, ...]]


def read_annotations(
    path: Path,
    split: str | None,
    report: OnSkip,
    *,
    default_split: str | None = None,
) -> Iterator[Captioned]:
    """Yield (key, image, captions) of a COCO or a Karpathy file.

    Args:
        path: The JSON file.
        split: For Karpathy: ``test``, ``val``, ``train`` or several joined by ``+``.
        report: Called for an entry that cannot be used.
        default_split: For Karpathy without a split; a file of one split needs none.

    Raises:
        DataError: If it is neither, or the split is missing or unknown.
    """
    content = read_json(path)
    if isinstance(content, list) and content:
        yield from read_captions(path, report)
        return
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise DataError(f'{path} has no list "images": it is neither COCO nor Karpathy JSON.')
    if "annotations" in content:
        if split is not None:
            raise DataError(f"{path} is COCO JSON, which has no splits: leave out #{split}.")
        yield from _coco(path, images, content["annotations"], report)
    else:
        yield from _karpathy(path, _in_split(path, images, split or default_split), report)


def _coco(
    path: Path, images: list[dict[str, Any]], annotations: Any, report: OnSkip
) -> Iterator[Captioned]:
    captions: dict[Any, list[str]] = {}
    for position, entry in enumerate(annotations if isinstance(annotations, list) else []):
        try:
            captions.setdefault(entry["image_id"], []).extend(clean_captions(entry["caption"]))
        except (DataError, KeyError, TypeError):
            report(Skip(f"{path}: annotation {position}", "it has no image_id and caption"))
    names = [image.get("file_name") for image in images]
    root = image_root([name for name in names if isinstance(name, str)], path.parent)
    for position, (image, name) in enumerate(zip(images, names, strict=True)):
        if not isinstance(name, str):
            report(Skip(f"{path}: image {position}", "it has no file_name"))
            continue
        yield name, ImageRef(str(root / name)), tuple(captions.get(image.get("id"), ()))


def _in_split(path: Path, images: list[dict[str, Any]], split: str | None) -> list[dict[str, Any]]:
    known = sorted({str(image.get("split")) for image in images})
    wanted = set(split.split("+")) if split else set(known)
    if (not split and len(known) != 1) or not wanted <= set(known):
        problem = f"has no split {split}" if split else "needs a split"
        raise DataError(f"{path} {problem}: add one of {', '.join(known)}, as in {path.name}#test.")
    return [image for image in images if image.get("split") in wanted]


def _karpathy(path: Path, images: list[dict[str, Any]], report: OnSkip) -> Iterator[Captioned]:
    names = [f"{image.get('filepath') or '.'}/{image.get('filename')}" for image in images]
    names = [name.removeprefix("./") for name in names]
    root = image_root(names, path.parent)
    for name, image in zip(names, images, strict=True):
        try:
            sentences = image["sentences"]
            captions = clean_captions([sentence["raw"] for sentence in sentences])
        except (DataError, KeyError, TypeError):
            report(Skip(f"{path}: {name}", 'it has no "sentences" with "raw" text'))
            continue
        yield name, ImageRef(str(root / name)), captions
