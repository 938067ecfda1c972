"""Start-up in new processes, with the files in the page cache, against limits in seconds."""

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import dinotxt
from harness import Figure, limit, main, seconds, today_place
from today import environment, of_command

_LIMITS = {"import": 0.5, "help": 0.5, "first_classify": 8.0}


def measure(quick: bool) -> dict[str, Figure]:
    """Measure the import, the help and the first classification with the lite model."""
    runs = 2 if quick else 5
    python = [sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        values = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        Image.fromarray(values).save(picture)
        commands = {
            "import": [*python, "-c", "import dinotxt"],
            "help": [*python, "-m", "dinotxt", "--help"],
            "first_classify": [
                *(*python, "-m", "dinotxt", "classify", str(picture)),
                *("--labels", "cat,dog,red panda", "--quiet"),
            ],
        }
        figures = {
            key: limit(_median(command, folder, runs), limit=_LIMITS[key], unit="s", runs=runs)
            for key, command in commands.items()
        }
        place = today_place()
        return figures if place is None else {**figures, **_against(place, Path(folder), runs)}


def _against(place: Path, folder: Path, runs: int) -> dict[str, Figure]:
    """Hold the CPU seconds and the memory of first commands against an earlier commit's.

    Labels are encoded anew each time; the index of 10,000 pictures is made of random features.
    """
    root = Path(__file__).parent.parent
    index, picture = _random_index(folder), str(folder / "picture.png")
    verbs = {
        "first_classify_cpu": [
            "classify",
            picture,
            "--labels",
            "cat,dog,red panda",
        ],
        "first_search_cpu": ["search", str(index), "a red bicycle"],
    }
    figures, memory = {}, Figure(value=0, peer=0, ratio=0, unit="MiB", runs=runs)
    for key, verb in verbs.items():
        command = [sys.executable, "-m", "dinotxt", *verb, "--quiet"]
        pairs = []
        for number in range(-1, runs):  # the first pair warms the page cache
            cache = {"DINOTXT_CACHE": f"{folder}/{key}-{number}"}
            pair = [of_command(command, environment(tree) | cache) for tree in (root, place)]
            pairs += [pair] if number >= 0 else []
        ours, theirs = (np.median([pair[side] for pair in pairs], axis=0) for side in (0, 1))
        figures[key] = Figure(
            value=float(ours[0]), peer=float(theirs[0]), unit="CPU s", runs=runs,
            ratio=statistics.median(theirs[0] / ours[0] for ours, theirs in pairs),
        )  # fmt: skip
        if key == "first_classify_cpu":
            memory = Figure(
                value=float(ours[1]), peer=float(theirs[1]), unit="MiB", runs=runs,
                ratio=float(theirs[1] / ours[1]),
            )  # fmt: skip
    return {**figures, "memory": memory}


def _random_index(folder: Path) -> Path:
    """Index 10,000 small pictures with random features of the model's width."""
    encoder = dinotxt.load("lite", device="cpu")
    rng = np.random.default_rng(0)
    album = folder / "album"
    album.mkdir()
    for number in range(10_000):
        colour = tuple(int(one) for one in rng.integers(0, 256, 3))
        Image.new("RGB", (2, 2), colour).save(album / f"{number:05d}.png")

    def random(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return rng.standard_normal((len(pixels), encoder.embed_dim), dtype=np.float32)

    encoder.towers.encode_image = random  # type: ignore[method-assign]
    dinotxt.ImageIndex.build(encoder, album, folder / "album.index")
    return folder / "album.index"


def _median(command: list[str], folder: str, runs: int) -> float:
    _run(command, folder, 0)
    times = [seconds(partial(_run, command, folder, number)) for number in range(1, runs + 1)]
    return statistics.median(times)


def _run(command: list[str], folder: str, number: int) -> None:
    """Run with an empty cache of embeddings, so that the labels are really encoded."""
    environment = {**os.environ, "DINOTXT_CACHE": f"{folder}/cache-{number}"}
    subprocess.run(command, check=True, capture_output=True, env=environment)


if __name__ == "__main__":
    main("startup", measure)
