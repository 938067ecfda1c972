"""How the code is laid out, counted: files, lines, circles, and what one segmentation enters.

``entered`` are the modules of which one ``dinotxt segment IMAGE --model lite`` runs a function,
seen by ``sys.setprofile``; what only runs while a module is imported does not count. ``decoded``
is how often that run decodes its picture. ``--today FOLDER`` counts another clone in the same way.
"""

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from harness import Figure, limit, write_report

_ROOT = Path(__file__).parents[1]
_LEAST, _MOST = 120, 160  # lines of the median file
_SHORT = 60  # lines
_GOALS = {"files": 300, "siblings": 19, "lines": 36_800, "short": 35, "circles": 0}
_RUN_GOALS = {"entered": 42, "decoded": 1}
_UNITS = {"siblings": "files", "short": "files", "entered": "modules", "decoded": "pictures"}


def counts(root: Path) -> dict[str, int]:
    """Return what can be counted without running the package.

    Args:
        root: A clone.

    Returns:
        ``files``, ``siblings`` (the most in one folder), ``lines`` in all; ``median`` lines and
        how many files are ``short``, both without ``__init__.py``; ``circles`` of imports, inside
        functions too.
    """
    lines = {
        path: len(path.read_text("utf-8").splitlines()) for path in (root / "src").rglob("*.py")
    }
    own = [count for path, count in lines.items() if path.name != "__init__.py"]
    return {
        "files": len(lines),
        "siblings": max(Counter(path.parent for path in lines).values()),
        "lines": sum(lines.values()),
        "median": round(statistics.median(own)),
        "short": sum(count < _SHORT for count in own),
        "circles": int(_python(root, "circles")),
    }


def run_counts(root: Path) -> dict[str, Any]:
    """Return ``entered``, its ``modules`` by name, and ``decoded``."""
    found: dict[str, Any] = json.loads(_python(root, "trace"))
    return {"entered": len(found["modules"]), **found}


def _python(root: Path, part: str) -> str:
    """Run a part of this script in a process of its own that imports the clone."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PYTHONPATH": str(root / "src"), "DINOTXT_CACHE": f"{folder}/cache"}
        return subprocess.run(
            [sys.executable, __file__, "--part", part],
            env={**os.environ, **environment},
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def count_circles() -> int:
    """Count the groups of modules that import each other, at any place of their code."""
    import grimp

    graph = grimp.build_graph("dinotxt", exclude_type_checking_imports=True, cache_dir=None)
    reached = {one: graph.find_downstream_modules(one) for one in graph.modules}
    groups = {
        frozenset({one, *(other for other in reached[one] if one in reached[other])})
        for one in graph.modules
    }
    return sum(len(group) > 1 for group in groups)


def trace() -> dict[str, Any]:
    """Segment a picture and return the modules that were entered and the pictures decoded."""
    import numpy as np
    from PIL import Image, ImageFile

    import dinotxt
    from dinotxt.cli.main import app

    values = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(values).save("picture.png")
    source = str(Path(dinotxt.__file__).parent)
    entered: set[str] = set()
    decoded = 0

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal decoded
        if event != "call":
            return
        code = frame.f_code
        if code is ImageFile.ImageFile.load.__code__ and frame.f_locals["self"].tile:
            decoded += 1
        name = code.co_filename
        is_function = bool(code.co_flags & inspect.CO_OPTIMIZED)
        is_new = is_function and name.startswith(source) and name not in entered
        if is_new and not _is_importing(frame, source):
            entered.add(name)

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        given = ["--labels", "cat,dog", "--out", "out", "--model", "lite", "--quiet"]
        app(["segment", "picture.png", *given], standalone_mode=False)
    finally:
        sys.setprofile(None)
    modules = sorted(str(Path(name).relative_to(source)) for name in entered)
    return {"modules": modules, "decoded": decoded}


def _is_importing(frame: FrameType, source: str) -> bool:
    """Tell if a function runs because a module of the package is being imported."""
    above = frame.f_back
    while above is not None:
        code = above.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(source):
            return True
        above = above.f_back
    return False


def figures(found: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Figure]:
    """Hold the counts against their goals; a limit of 0 has the ratio 1 or 0."""
    made = {}
    for key, goal in (_GOALS | _RUN_GOALS).items():
        value, unit = {**found, **run}[key], _UNITS.get(key, key)
        if goal:
            made[key] = limit(value, limit=goal, unit=unit)
        else:
            made[key] = Figure(value=value, peer=0, ratio=float(not value), unit=unit, runs=1)
    median = found["median"]
    near = min(max(median, _LEAST), _MOST)
    ratio = min(median, near) / max(median, near)
    made["median"] = Figure(value=median, peer=near, ratio=ratio, unit="lines", runs=1)
    return made


def main() -> None:
    """Run as a script: ``python benchmarks/structure.py [--today FOLDER] [--json FILE|-]``."""
    parser = argparse.ArgumentParser(description="The structure benchmark.")
    parser.add_argument("--json", metavar="FILE|-", default="-")
    parser.add_argument("--quick", action="store_true", help="nothing is left out: it is quick")
    parser.add_argument("--today", metavar="FOLDER", type=Path, help="a clone to count beside it")
    parser.add_argument("--part", choices=("circles", "trace"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "circles":
        sys.stdout.write(str(count_circles()))
    elif given.part == "trace":
        sys.stdout.write(json.dumps(trace()))
    else:
        run = run_counts(_ROOT)
        more: dict[str, Mapping[str, object]] = {"details": {"modules": run["modules"]}}
        if given.today is not None:
            before = run_counts(given.today)
            more["today"] = {**counts(given.today), **before}
        write_report("structure", figures(counts(_ROOT), run), given.json, **more)


if __name__ == "__main__":
    main()
