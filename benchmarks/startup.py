"""Start-up in new processes, with the files in the page cache, against limits in seconds."""

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from harness import Figure, limit, main, seconds

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
        return {
            key: limit(_median(command, folder, runs), limit=_LIMITS[key], unit="s", runs=runs)
            for key, command in commands.items()
        }


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
