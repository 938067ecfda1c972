"""Classify, search and segment sample pictures: ``python examples/demo.py --out demo-output``.

The pictures come with scikit-image; nothing is downloaded.
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

PICTURES = (
    *("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg"),
    "rocket.jpg",
)
SHEET_HEIGHT = 360
LABELS = (
    *("astronaut", "brick wall", "cat", "cup of coffee", "coins", "grass", "galaxies", "moon"),
    *("motorcycle", "page of a book", "retina of an eye", "rocket"),
)
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
    "rocket.jpg": ("rocket", "sky", "tower", "smoke"),
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
    """Copy the sample pictures of scikit-image into a folder of their own."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The sample pictures are missing: run `pip install scikit-image`.")
    source = Path(spec.submodule_search_locations[0]) / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        shutil.copyfile(source / name, folder / name)
    return folder


def classify(encoder: dinotxt.Encoder, pictures: Path) -> Table:
    """Choose one of twelve labels for each picture."""
    table = Table("picture", "first guess", "", "second guess", "", title="Classification")
    predict = dinotxt.ZeroShotClassifier(encoder, LABELS)
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
    for name, labels in SCENES.items():
        predict = dinotxt.Segmenter(encoder, labels)
        result = predict(pictures / name)
        overlay = folder / f"{Path(name).stem}.png"
        result.overlay(pictures / name).save(overlay)
        shares = sorted(result.areas.items(), key=lambda pair: -pair[1])
        areas = ", ".join(f"{label} {share:.0%}" for label, share in shares if share > 0)
        table.add_row(name, areas, overlay.name)
    draw_sheet([folder / f"{Path(name).stem}.png" for name in SCENES], folder / "sheet.jpg")
    return table


def draw_sheet(overlays: Sequence[Path], path: Path) -> None:
    """Put overlays side by side, all of one height."""
    pictures = [Image.open(overlay).convert("RGB") for overlay in overlays]
    scaled = [ImageOps.contain(picture, (10 * SHEET_HEIGHT, SHEET_HEIGHT)) for picture in pictures]
    sheet = Image.new("RGB", (sum(one.width for one in scaled), SHEET_HEIGHT), "white")
    left = 0
    for one in scaled:
        sheet.paste(one, (left, 0))
        left += one.width
    sheet.save(path, quality=85)


if __name__ == "__main__":
    main()
