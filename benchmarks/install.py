"""A stranger's first minutes: an empty environment, the wheel of this clone, the first label.

``size`` is what lies in site-packages in the end, against the limit of 350 MB. Packages come from
the index that pip is set up for; ``label`` is the first command after that, nothing prepared.
"""

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
from PIL import Image

from harness import Figure, limit, main

_ROOT = Path(__file__).parent.parent
_LIMITS = {"size": 350.0, "seconds": 300.0, "label": 30.0}


def measure(quick: bool) -> dict[str, Figure]:
    """Build the wheel, install it into an empty environment and classify one picture."""
    del quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", name, "."]
        subprocess.run(build, check=True, capture_output=True, cwd=_ROOT)
        (wheel,) = folder.glob("*.whl")
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        before = _site_packages(folder)
        install = _seconds([python, "-m", "pip", "install", "--quiet", str(wheel)], folder)
        size = (_site_packages(folder) - before) / 1e6
        picture = folder / "picture.png"
        values = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        Image.fromarray(values).save(picture)
        classify = ["classify", str(picture), "--labels", "cat,dog,red panda", "--quiet"]
        label = _seconds([python, "-m", "dinotxt", *classify], folder)
    found = {"size": (size, "MB"), "seconds": (install, "s"), "label": (label, "s")}
    return {
        key: limit(value, limit=_LIMITS[key], unit=unit, runs=1)
        for key, (value, unit) in found.items()
    }


def _site_packages(folder: Path) -> int:
    (place,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def _seconds(command: list[str], folder: Path) -> float:
    """Run in the empty environment alone, with a cache of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["DINOTXT_CACHE"] = str(folder / "cache")
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, env=environment)
    return time.perf_counter() - start


if __name__ == "__main__":
    main("install", measure)
