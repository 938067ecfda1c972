import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def paint(colour: str, size: tuple[int, int] = (40, 32)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[colour])


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Two pictures of each colour; one of the green ones lies among the blue."""
    root = tmp_path / "classes"
    for colour in COLOURS:
        (root / colour).mkdir(parents=True)
        paint(colour).save(root / colour / "1.png")
        paint("green" if colour == "blue" else colour).save(root / colour / "2.png")
    return root


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pictures, the red one with two captions."""
    root = tmp_path / "pairs"
    root.mkdir()
    captions = {"red": ["red", "something red"], "green": ["green"], "blue": ["blue"]}
    for colour, texts in captions.items():
        paint(colour).save(root / f"{colour}.png")
        (root / f"{colour}.json").write_text(json.dumps({"captions": texts}))
    return root


@pytest.fixture
def make_masks(tmp_path: Path) -> Callable[..., Path]:
    """Pictures whose left half is red and whose right half is green."""

    def make(num: int = 3, classes: str = "red\ngreen\nblue\n") -> Path:
        root = tmp_path / "masks"
        for name in ("images", "labels"):
            (root / name).mkdir(parents=True)
        (root / "classes.txt").write_text(classes)
        for number in range(num):
            picture = paint("red", (64, 32))
            picture.paste(paint("green", (32, 32)), (32, 0))
            picture.save(root / "images" / f"{number}.png")
            labels = np.zeros((32, 64), np.uint8)
            labels[:, 32:] = 1
            labels[:4] = 255
            Image.fromarray(labels).save(root / "labels" / f"{number}.png")
        return root

    return make
