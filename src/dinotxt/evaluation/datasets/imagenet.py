"""ImageNet and its relatives: folders named by WordNet ids or by label numbers.

ImageNet-1K's validation set as class folders or as the challenge's flat folder with
``LOC_val_solution.csv``; ImageNet-V2 with folders ``0`` to ``999``; ImageNet-A with 200 of the ids.
All classes of a set compete, also on a part of it.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from dinotxt.data.pictures import pictures_in
from dinotxt.data.readers import ImageRef, LabelledImage, LabelledSet
from dinotxt.errors import DataError
from dinotxt.results.skip import OnSkip, Skip
from dinotxt.text.published import imagenet_a_ids, imagenet_ids

_SOLUTION = "LOC_val_solution.csv"


def read_imagenet(folder: Path, report: OnSkip) -> LabelledSet:
    """Read the validation set of ImageNet-1K.

    Raises:
        DataError: If neither class folders nor the challenge's files are there.
    """
    for base in (folder / "val", folder):
        if any((base / one).is_dir() for one in imagenet_ids()):
            items = _by_folder(
                base, {one: place for place, one in enumerate(imagenet_ids())}, report
            )
            return LabelledSet(tuple(items), imagenet_ids(), name="imagenet")
    solution = folder / _SOLUTION
    pictures = folder / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    if not solution.is_file() or not pictures.is_dir():
        raise DataError(
            f"{folder} is not ImageNet: it has no class folders such as val/{imagenet_ids()[0]}/, "
            f"nor {_SOLUTION} with ILSVRC/Data/CLS-LOC/val/. Pictures of ILSVRC2012_img_val.tar "
            "tell no class: sort them into such folders, or take the challenge's files."
        )
    items = _by_solution(solution, pictures, report)
    return LabelledSet(tuple(items), imagenet_ids(), name="imagenet")


def read_imagenet_v2(folder: Path, report: OnSkip) -> LabelledSet:
    """Read ImageNet-V2: the name of a folder is the number of its class.

    Raises:
        DataError: If there are no such folders.
    """
    labels = {str(number): number for number in range(len(imagenet_ids()))}
    bases = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    for base in bases:
        if any((base / name).is_dir() for name in labels):
            items = tuple(_by_folder(base, labels, report))
            return LabelledSet(items, imagenet_ids(), name="imagenet-v2")
    raise DataError(
        f"{folder} is not ImageNet-V2: it has no folders 0 to 999. Unpack "
        "imagenetv2-matched-frequency.tar.gz there."
    )


def read_imagenet_a(folder: Path, report: OnSkip) -> LabelledSet:
    """Read ImageNet-A.

    Raises:
        DataError: If there is no folder named by an id of its 200 classes.
    """
    ids = imagenet_a_ids()
    for base in (folder, folder / "imagenet-a"):
        if any((base / one).is_dir() for one in ids):
            items = _by_folder(base, {one: place for place, one in enumerate(ids)}, report)
            return LabelledSet(tuple(items), ids, name="imagenet-a")
    raise DataError(
        f"{folder} is not ImageNet-A: it has no class folders such as {ids[0]}/. Unpack "
        "imagenet-a.tar there."
    )


def _by_folder(base: Path, labels: dict[str, int], report: OnSkip) -> Iterator[LabelledImage]:
    for name, label in labels.items():
        if (base / name).is_dir():
            for path in pictures_in(base / name, report):
                key = path.relative_to(base).as_posix()
                yield LabelledImage(key, ImageRef(str(path)), label)


def _by_solution(solution: Path, pictures: Path, report: OnSkip) -> Iterator[LabelledImage]:
    labels = {one: place for place, one in enumerate(imagenet_ids())}
    with solution.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            name = row.get("ImageId") or ""
            label = labels.get((row.get("PredictionString") or "").split(" ")[0])
            if label is None:
                report(Skip(f"{solution}: {name}", "its class is none of ImageNet's"))
                continue
            path = pictures / f"{name}.JPEG"
            yield LabelledImage(name, ImageRef(str(path)), label)
