"""Indexing a folder of photos with the lite model, against bare encoding of the same files.

``rate`` is pictures a second from an empty index to a finished one: listing, reading, hashing,
decoding, encoding and writing safely. The peer only decodes and encodes.
"""

import shutil
import tempfile
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

import dinotxt
from harness import Figure, main, paired_rates, today_place
from today import Today, paired_cpu_rates

_SIZE = (500, 375)
_TODAY = """
import dinotxt, shutil
encoder = dinotxt.load("lite", device="cpu")
def call():
    target = sys.argv[1] + "/today.index"
    dinotxt.ImageIndex.build(encoder, sys.argv[1] + "/album", target)
    shutil.rmtree(target)
"""


def measure(quick: bool) -> dict[str, Figure]:
    """Return the figure ``rate``."""
    encoder = dinotxt.load("lite", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        pictures = photos(Path(folder) / "album", 64 if quick else 512)
        targets = (Path(folder) / f"{number}.index" for number in count())

        def index() -> None:
            target = next(targets)
            dinotxt.ImageIndex.build(encoder, Path(folder) / "album", target)
            shutil.rmtree(target)

        rate = paired_rates(
            index,
            lambda: encoder.encode_image(pictures),
            work=len(pictures),
            unit="pictures/s",
            runs=3,
        )
        place = today_place()
        if place is None:
            return {"rate": rate}
        peer = Today(place, _TODAY, folder)
        today = paired_cpu_rates(
            index, peer, work=len(pictures), unit="pictures/CPU s", runs=2 if quick else 3
        )
        peer.close()
    return {"rate": rate, "today": today}


def photos(folder: Path, number: int) -> list[Path]:
    """Write JPEGs of photo size, smooth with a little noise, in folders of a hundred."""
    rng = np.random.default_rng(0)
    paths = []
    for position in range(number):
        path = folder / f"{position // 100:03d}" / f"{position:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        large = np.asarray(small.resize(_SIZE, Image.Resampling.BICUBIC), np.int16)
        noisy = (large + rng.integers(-8, 9, large.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=90)
        paths.append(path)
    return paths


if __name__ == "__main__":
    main("indexing", measure)
