"""iNaturalist 2021: ``val.json`` with pictures, labels and names, and the pictures beside it."""

from pathlib import Path
from typing import Any

from dinotxt.data.readers import ImageRef, LabelledImage, LabelledSet
from dinotxt.errors import DataError
from dinotxt.files import read_json
from dinotxt.results.skip import OnSkip, Skip


def read_inaturalist(folder: Path, report: OnSkip, split: str = "val") -> LabelledSet:
    """Read a split of iNaturalist 2021.

    The names are the scientific ones; the variants are ``scientific``, ``common`` (where there is
    none, the scientific one) and ``both`` (averaged).

    Args:
        folder: It holds ``val.json`` and ``val/``.
        report: Called for an annotation that names no picture or class.
        split: ``val``, ``train`` or ``train_mini``.

    Raises:
        DataError: If the file is missing or of another form, or all pictures are missing.
    """
    path = folder / f"{split}.json"
    if not path.is_file():
        raise DataError(
            f"{folder} is not iNaturalist 2021: it has no {path.name}. "
            f"Unpack {path.name}.tar.gz there."
        )
    images, annotations, categories = _lists(path)
    try:
        files = {image["id"]: str(image["file_name"]) for image in images}
        names = [str(one["name"]) for one in categories]
        labels = {one["id"]: number for number, one in enumerate(categories)}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} lacks {error} in an entry: unpack {path.name} anew.") from None
    if not any((folder / file).is_file() for file in files.values()):
        raise DataError(
            f"{folder} has {path.name} but none of its pictures: unpack {split}.tar.gz there."
        )
    items = []
    for position, entry in enumerate(annotations):
        file, label = _find(entry, files, labels)
        if file is None or label is None:
            report(Skip(f"{path}: annotation {position}", "it names no known picture and class"))
            continue
        items.append(LabelledImage(file, ImageRef(str(folder / file)), label))
    common = [str(one.get("common_name") or one["name"]) for one in categories]
    both = [" | ".join(dict.fromkeys(pair)) for pair in zip(names, common, strict=True)]
    variants = {"scientific": tuple(names), "common": tuple(common), "both": tuple(both)}
    return LabelledSet(tuple(items), tuple(names), variants=variants, name="inaturalist2021")


def _lists(path: Path) -> list[list[Any]]:
    content = read_json(path)
    keys = ("images", "annotations", "categories")
    parts = [content.get(key) if isinstance(content, dict) else None for key in keys]
    found = [part for part in parts if isinstance(part, list) and part]
    if len(found) < len(keys):
        raise DataError(f"{path} has no lists {', '.join(keys)}: unpack {path.name} anew.")
    return found


def _find(
    entry: Any, files: dict[Any, str], labels: dict[Any, int]
) -> tuple[str | None, int | None]:
    try:
        return files.get(entry["image_id"]), labels.get(entry["category_id"])
    except (KeyError, TypeError):
        return None, None
