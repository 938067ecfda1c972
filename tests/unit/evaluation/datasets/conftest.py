"""Tiny replicas of published data sets, in the layout of each one's own archives."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (8, 6)


def picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, colour).save(path)


def label_map(path: Path, *values: int) -> None:
    """Write a label map whose columns hold the values in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.resize(np.array(values, dtype=np.uint8), SIZE[0])
    Image.fromarray(np.tile(columns, (SIZE[1], 1))).save(path)


def lines(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts))


def ade20k(root: Path) -> None:
    for split in ("validation", "training"):
        name = f"ADE_{split[:5]}_00000001"
        picture(root / "images" / split / f"{name}.jpg")
        label_map(root / "annotations" / split / f"{name}.png", 0, 1, 150)


def cityscapes(root: Path) -> None:
    name = "frankfurt/frankfurt_000000_000294"
    picture(root / "leftImg8bit" / "val" / f"{name}_leftImg8bit.png")
    label_map(root / "gtFine" / "val" / f"{name}_gtFine_labelIds.png", 0, 7, 33)


def cityscapes_train_ids(root: Path) -> None:
    cityscapes(root)
    name = "frankfurt/frankfurt_000000_000294"
    label_map(root / "gtFine" / "val" / f"{name}_gtFine_labelTrainIds.png", 255, 0, 18)


def voc(root: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for name in ("2007_000033", "2007_000042", "not_listed"):
        picture(base / "JPEGImages" / f"{name}.jpg")
        label_map(base / "SegmentationClass" / f"{name}.png", 0, 1, 20, 255)
    lines(base / "ImageSets" / "Segmentation" / "val.txt", "2007_000033", "2007_000042")


def context(root: Path) -> None:
    base = root / "VOC2010"
    picture(base / "JPEGImages" / "2008_000002.jpg")
    label_map(base / "SegmentationClassContext" / "2008_000002.png", 0, 1, 59)
    lines(base / "ImageSets" / "SegmentationContext" / "val.txt", "2008_000002")


def cocostuff(root: Path) -> None:
    picture(root / "val2017" / "000000000139.jpg")
    label_map(root / "stuffthingmaps_trainval2017" / "val2017" / "000000000139.png", 255, 0, 181)


def cocoobject(root: Path) -> None:
    picture(root / "val2017" / "000000000139.jpg")
    folder = root / "stuffthingmaps" / "val2017"
    label_map(folder / "000000000139.png", 255, 0, 89, 91, 181)


def cocoobject_converted(root: Path) -> None:
    cocoobject(root)
    picture(root / "images" / "val2017" / "000000000139.jpg")
    folder = root / "annotations" / "val2017"
    label_map(folder / "000000000139_instanceTrainIds.png", 0, 1, 80, 0, 0)


def cocostuff_train_ids(root: Path) -> None:
    picture(root / "images" / "val2017" / "000000000139.jpg")
    folder = root / "annotations" / "val2017"
    label_map(folder / "000000000139.png", 255, 0, 181)
    label_map(folder / "000000000139_labelTrainIds.png", 255, 0, 170)


def camvid(root: Path) -> None:
    for split in ("test", "val"):
        picture(root / split / "Seq05VD_f00000.png")
        label_map(root / f"{split}annot" / "Seq05VD_f00000.png", 11, 0, 10)
