"""Draw every figure of the documentation with a model: ``python examples/figures.py``.

They are written to docs/images unless ``--out DIR`` says otherwise. The pictures come with
scikit-image; nothing is downloaded. The curve of accuracy against compute is drawn from
docs/compute-curve.json, the points of runs whose commands stand in docs/results.md.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import dinotxt
from compute_curve import draw
from demo import copy_pictures, segment
from dinotxt.curation.text.balance import entry_probabilities
from dinotxt.errors import import_extra
from dinotxt.files import read_json
from dinotxt.inference.dense import find_mode
from dinotxt.results.figures import comparison, pca_picture, side_by_side
from dinotxt.results.palette import palette

CAPTIONS = {
    "chelsea.png": "a cat looks at the camera",
    "coffee.png": "a cup of coffee on a wooden table",
    "astronaut.png": "a smiling woman in an orange suit",
    "motorcycle_left.png": "a motorcycle in a garage",
    "rocket.jpg": "a rocket is being launched",
}
SCENE = "motorcycle_left.png"
LABELS = ("motorcycle", "wall", "floor", "shelf")
SOFT = ("motorcycle", "wheel", "floor")
CURVE = Path(__file__).parents[1] / "docs" / "compute-curve.json"
NUM_ENTRIES = 2000
WIDTH = 900


def main() -> None:
    """Draw every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lite", help="a named model or a run folder")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--crops", type=int, default=60, help="of the high-resolution mode")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    encoder = dinotxt.load(options.model)
    with TemporaryDirectory() as folder:
        pictures = copy_pictures(Path(folder) / "pictures")
        segment(encoder, pictures, Path(folder) / "overlays")
        shutil.copyfile(Path(folder) / "overlays" / "sheet.jpg", options.out / "segmentation.jpg")
        similarity(encoder, pictures, options.out / "similarity.png")
        save(modes(encoder, pictures / SCENE, options.crops), options.out / "modes.jpg")
        save(features(encoder, pictures), options.out / "features.jpg")
        save(soft_masks(encoder, pictures / SCENE), options.out / "soft.jpg")
    balance(options.out / "balance.png")
    draw(read_json(CURVE), options.out / "compute.png")


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture at the width of a page."""
    fitted = ImageOps.contain(picture.convert("RGB"), (WIDTH, WIDTH))
    fitted.save(path, quality=80, optimize=True)


def similarity(encoder: dinotxt.Encoder, pictures: Path, path: Path) -> None:
    """Draw the cosines of five pictures and five captions."""
    images = encoder.encode_image([pictures / name for name in CAPTIONS])
    texts = encoder.encode_text(list(CAPTIONS.values()))
    cosines = images @ texts.T
    axes, figure = _axes((8.0, 3.4))
    axes.imshow(cosines, cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(cosines):
        ink = "white" if value > cosines.mean() + cosines.std() else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
    axes.set_xticks(range(len(CAPTIONS)), _wrapped(list(CAPTIONS.values())), fontsize=7)
    axes.set_yticks(range(len(CAPTIONS)), list(CAPTIONS), fontsize=8)
    figure.savefig(path, dpi=110)


def modes(encoder: dinotxt.Encoder, picture: Path, crops: int) -> Image.Image:
    """Segment a picture in the three modes."""
    results = [
        (name, dinotxt.Segmenter(encoder, LABELS, mode=find_mode(name, encoder.defaults))(picture))
        for name in ("whole", "window")
    ]
    many = find_mode("highres", encoder.defaults, crops=crops)
    results.append(
        (f"highres, {crops} crops", dinotxt.Segmenter(encoder, LABELS, mode=many)(picture))
    )
    return comparison(results)


def features(encoder: dinotxt.Encoder, pictures: Path) -> Image.Image:
    """Show patch features by their principal components, beside the pictures."""
    panels = []
    for name in (SCENE, "coffee.png"):
        picture = Image.open(pictures / name).convert("RGB")
        patches = encoder.encode_patches(picture)
        panels += [("picture", picture), ("features", pca_picture(patches, picture.size))]
    return side_by_side(panels)


def soft_masks(encoder: dinotxt.Encoder, picture: Path) -> Image.Image:
    """Show how well three labels that overlap fit each pixel."""
    result = dinotxt.Segmenter(encoder, SOFT, soft=True)(picture)
    panels = [("picture", Image.open(picture).convert("RGB"))]
    for label in SOFT:
        grey = np.rint(255 * result.mask(label)).astype(np.uint8)
        panels.append((label, Image.fromarray(grey)))
    return side_by_side(panels)


def balance(path: Path) -> None:
    """Draw how many captions of each entry are kept, for a long-tailed pool."""
    ranks = np.arange(1, NUM_ENTRIES + 1)
    counts = (1e6 / ranks).astype(np.uint64)
    axes, figure = _axes((6.0, 2.8))
    colours = palette(3) / 255
    axes.loglog(ranks, counts, color="black", label="in the pool")
    for colour, threshold in zip(colours, (1_000, 5_000, 20_000), strict=True):
        kept = counts * entry_probabilities(counts, threshold)
        axes.loglog(ranks, kept, color=colour, label=f"kept, t = {threshold:,}")
    axes.set_xlabel("metadata entries, the most frequent first")
    axes.set_ylabel("captions")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _axes(size: tuple[float, float]) -> tuple[Any, Any]:
    """Return axes and their figure, without a window."""
    figure = import_extra("matplotlib.figure", extra="plots").Figure(size, layout="constrained")
    return figure.add_subplot(), figure


def _wrapped(captions: Sequence[str]) -> list[str]:
    """Break captions into lines of three words."""
    words = [caption.split() for caption in captions]
    return ["\n".join(" ".join(w[i : i + 3]) for i in range(0, len(w), 3)) for w in words]


if __name__ == "__main__":
    main()
