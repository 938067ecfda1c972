"""Accuracy against compute (the paper's Figure 1) from the logs of training runs.

``python examples/compute_curve.py RUN... --metric NAME --out FILE`` makes one line a run: a
validation metric after each evaluation over the GFLOPs that the run had spent by then. FILE.json
keeps the points, FILE.png draws them.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinotxt.errors import import_extra
from dinotxt.files import write_json
from dinotxt.results.palette import palette

_WIDE = 30  # times more compute than the least: the axis is logarithmic


def curve(run: Path, metric: str) -> list[tuple[float, float]]:
    """Return (GFLOPs, metric) at each evaluation of a run, in order.

    Args:
        run: The run folder, with ``metrics.jsonl``.
        metric: Its name, such as ``text_to_image_recall@1``.
    """
    spent: dict[int, float] = {}
    points = []
    for line in (run / "metrics.jsonl").read_text("utf-8").splitlines():
        content = json.loads(line)
        if "gflops" in content:
            spent[content["step"]] = content["gflops"]
        elif metric in content.get("evaluation", {}):
            points.append((spent[content["step"]], content["evaluation"][metric]))
    return points


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw the points of runs: ``{"metric": NAME, "runs": {NAME: [[GFLOPs, value], ...]}}``."""
    figure = import_extra("matplotlib.figure", extra="plots").Figure((6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    runs = content["runs"]
    for colour, (name, points) in zip(palette(len(runs)) / 255, runs.items(), strict=True):
        gflops, values = zip(*points, strict=True)
        axes.plot(gflops, values, color=colour, marker="o", markersize=4, label=name)
    spent = [gflops for points in runs.values() for gflops, _ in points]
    if max(spent) > _WIDE * min(spent):
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training compute (GFLOPs)")
    axes.set_ylabel(content["metric"].replace("_", " "))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Keep or draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--metric", default="text_to_image_recall@1")
    parser.add_argument("--out", type=Path, default=Path("compute.png"))
    given = parser.parse_args()
    runs = {
        run.name: [(float(f"{gflops:.5g}"), value) for gflops, value in curve(run, given.metric)]
        for run in given.runs
    }
    for name, points in runs.items():
        if not points:
            raise SystemExit(f"{name}: no evaluation has {given.metric}.")
        print(f"{name}: {points[-1][1]:.4f} after {points[-1][0]:.4g} GFLOPs")
    content = {"metric": given.metric, "runs": runs}
    if given.out.suffix == ".json":
        write_json(given.out, content)
    else:
        draw(content, given.out)


if __name__ == "__main__":
    main()
