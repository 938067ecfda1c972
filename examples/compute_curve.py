"""Accuracy against compute (the paper's Figure 1) from the logs of training runs.

``python examples/compute_curve.py RUN... --metric NAME --out FILE.png`` draws one line a run: a
validation metric after each evaluation over the GFLOPs that the run had spent by then.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


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


def main() -> None:
    """Draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--metric", default="text_to_image_recall@1")
    parser.add_argument("--out", type=Path, default=Path("compute.png"))
    given = parser.parse_args()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for run in given.runs:
        points = curve(run, given.metric)
        if not points:
            raise SystemExit(f"{run}: no evaluation has {given.metric}.")
        gflops, values = zip(*points, strict=True)
        axes.plot(gflops, values, marker="o", label=run.name)
        print(f"{run}: {values[-1]:.4f} after {gflops[-1]:.4g} GFLOPs")
    axes.set_xscale("log")
    axes.set_xlabel("training compute (GFLOPs)")
    axes.set_ylabel(given.metric)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(given.out, dpi=150)


if __name__ == "__main__":
    main()
