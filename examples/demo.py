"""Classify, search and segment sample pictures: ``python examples/demo.py --out demo-output``.

The pictures come with scikit-image and scikit-learn; nothing is downloaded.
"""

import argparse
import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

import dinotxt
from dinotxt.results.overlay import Entry, add_legend

SOURCES = {"skimage": "data", "sklearn": "datasets/images"}
PICTURES: Mapping[str, str] = {
    "brick.png": "brick wall",
    "camera.png": "photographer with a camera",
    "chelsea.png": "cat",
    "china.jpg": "Chinese temple",
    "coffee.png": "cup of coffee",
    "flower.jpg": "flower",
    "grass.png": "grass",
    "horse.png": "horse",
    "hubble_deep_field.jpg": "galaxies",
    "motorcycle_left.png": "motorcycle",
    "page.png": "page of a book",
    "rocket.jpg": "rocket",
}
ALBUM = ("astronaut.png", *PICTURES)
SHEET = (("astronaut.png", "chelsea.png", "coffee.png"), ("motorcycle_left.png", "china.jpg"))
SHEET_WIDTH, SHEET_LETTERS, ROW_HEIGHT, GAP = 1280, 72, 300, 12
QUERIES = (
    "a cat looks at the camera",
    "a cup of coffee and a spoon on a wooden table",
    "a smiling woman in an orange suit",
    "a motorcycle in a garage",
    "a rocket is being launched",
)
SCENES: Mapping[str, Sequence[str]] = {
    "astronaut.png": ("woman", "orange space suit", "flag", "model of a space shuttle", "wall"),
    "chelsea.png": ("cat", "floor"),
    "coffee.png": ("cup", "coffee", "saucer", "spoon", "wooden table"),
    "motorcycle_left.png": ("motorcycle", "wall", "floor", "shelf"),
    "china.jpg": ("temple", "sky", "trees"),
}


def main() -> None:
    """Run the three tasks and print what they find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lite", help="a named model or a run folder")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    console = Console(highlight=False)
    pictures = copy_pictures(options.out / "pictures")
    encoder = dinotxt.load(options.model)
    console.print(classify(encoder, pictures))
    console.print(search(encoder, pictures, options.out / "album.index"))
    console.print(segment(encoder, pictures, options.out / "overlays"))
    console.print(f"Pictures, index and overlays are in {options.out.resolve()}", soft_wrap=True)


def copy_pictures(folder: Path) -> Path:
    """Copy the sample pictures of two packages into a folder of their own."""
    specs = {package: importlib.util.find_spec(package) for package in SOURCES}
    found = [
        Path(spec.submodule_search_locations[0]) / SOURCES[package]
        for package, spec in specs.items()
        if spec is not None and spec.submodule_search_locations
    ]
    if len(found) < len(SOURCES):
        message = "The sample pictures are missing: run `pip install scikit-image scikit-learn`."
        raise SystemExit(message)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ALBUM:
        source = next(place / name for place in found if (place / name).is_file())
        shutil.copyfile(source, folder / name)
    return folder


def classify(encoder: dinotxt.Encoder, pictures: Path) -> Table:
    """Choose one of the twelve labels for each of the twelve pictures."""
    table = Table("picture", "first guess", "", "second guess", "", title="Classification")
    predict = dinotxt.ZeroShotClassifier(encoder, list(PICTURES.values()))
    for result in predict.classify_many([pictures / name for name in PICTURES]):
        cells = [cell for label, share in result.top(2) for cell in (label, f"{share:.0%}")]
        table.add_row(Path(result.image).name, *cells)
    return table


def search(encoder: dinotxt.Encoder, pictures: Path, path: Path) -> Table:
    """Index the folder and look for five descriptions."""
    table = Table("words", "best picture", "", "next", "", title="Search")
    index = dinotxt.ImageIndex.build(encoder, pictures, path)
    for words in QUERIES:
        hits = index.search(words, k=2)
        cells = [cell for hit in hits for cell in (Path(hit.path).name, f"{hit.score:.3f}")]
        table.add_row(words, *cells)
    return table


def segment(encoder: dinotxt.Encoder, pictures: Path, folder: Path) -> Table:
    """Label the pixels of the scenes and draw the result over them."""
    table = Table("picture", "areas", "overlay", title="Segmentation")
    folder.mkdir(parents=True, exist_ok=True)
    scenes = {}
    for name, labels in SCENES.items():
        predict = dinotxt.Segmenter(encoder, labels, refine="pamr")
        result = predict(pictures / name)
        overlay = folder / f"{Path(name).stem}.png"
        result.overlay().save(overlay)
        scenes[name] = (result.overlay(legend=False), result.entries())
        shares = sorted(result.areas.items(), key=lambda pair: -pair[1])
        areas = ", ".join(f"{label} {share:.0%}" for label, share in shares if share > 0)
        table.add_row(name, areas, overlay.name)
    draw_sheet(scenes, folder / "sheet.jpg")
    return table


def draw_sheet(scenes: Mapping[str, tuple[Image.Image, Sequence[Entry]]], path: Path) -> None:
    """Put the scenes in two rows, each picture with a legend that can be read on a page."""
    rows = []
    for names in SHEET:
        width = (SHEET_WIDTH - GAP * (len(names) - 1)) // len(names)
        row = []
        for picture, entries in (scenes[name] for name in names):
            tile = ImageOps.fit(picture, (width, ROW_HEIGHT))
            row.append(add_legend(tile, entries, letters=SHEET_LETTERS // len(names)))
        rows.append(row)
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (SHEET_WIDTH, sum(heights) + GAP * (len(rows) - 1)), "white")
    for number, row in enumerate(rows):
        top = sum(heights[:number]) + GAP * number
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * (tile.width + GAP), top))
    sheet.save(path, quality=88)


if __name__ == "__main__":
    main()
