"""The report of a curation: counts and reasons, keep rates, heads, examples.

``report/report.json`` holds everything, ``report.md`` the tables, ``index.html`` pictures too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dinotxt.curation.config import CurationConfig
from dinotxt.curation.pool import table_paths
from dinotxt.curation.report.examples import find_cluster_pictures, find_examples
from dinotxt.curation.report.pages import to_html, to_markdown
from dinotxt.curation.stage import StageReport, read_report
from dinotxt.data.order import CuratedPairs
from dinotxt.files import atomic_path, write_json

_NAMES = ("pairs", "metadata", "match", "balance", "embed", "cluster", "sample", "keep")
_DRAWN = ("epoch", "n_in", "n_out", "reasons", "kept_text", "kept_image", "kept")
_SHOWN_CLUSTERS = 10


def write_report(config: CurationConfig, drawn: Mapping[str, Any]) -> list[str]:
    """Write the report of a finished curation.

    Args:
        config: The curation.
        drawn: What `keep.draw_epoch` returned.

    Returns:
        The files, relative to the output.
    """
    root = config.output
    stages = [read_report(root, name) for name in _NAMES if (root / name / "stage.json").exists()]
    curated = CuratedPairs(root)
    tables = table_paths(root, read_report(root, "pairs"))
    examples = find_examples(tables, curated, drawn["epoch"])
    content: dict[str, Any] = {
        "mode": config.draw.mode,
        "seed": config.seed,
        "complete": drawn["complete"],
        "stages": [stage.to_dict() for stage in stages],
        "draw": {key: drawn[key] for key in _DRAWN},
        "keep_rates": _keep_rates(drawn),
        "joint": joint_figures(curated, drawn),
        "heads": _heads(stages),
        "examples": {
            kind: [example.to_dict() for example in found] for kind, found in examples.items()
        },
    }
    largest = [row["cluster"] for row in content["heads"].get("clusters", [])[:_SHOWN_CLUSTERS]]
    of_clusters = find_cluster_pictures(root, tables, largest) if largest else {}
    folder = root / "report"
    write_json(folder / "report.json", content)
    pages = {
        "report.md": to_markdown(content),
        "index.html": to_html(content, examples, of_clusters),
    }
    for name, text in pages.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    return [f"report/{name}" for name in ("report.json", *pages)]


def joint_figures(curated: CuratedPairs, drawn: Mapping[str, Any]) -> dict[str, float]:
    """Compare the pairs kept by both balances with what independent balances would keep.

    Returns:
        ``expected_both`` and ``if_independent`` (pairs), their ``ratio``, and ``correlation``, that
        of the two keep probabilities over the pairs. The paper's 650 of 2,300 million pairs (900
        by text, 1,500 by image) are 1.11 times what independence gives.
    """
    sums = np.zeros(6)
    for records in curated.tables():
        text, image = (records[key].astype(np.float64) for key in ("keep_text", "keep_image"))
        sums += [
            len(text), text.sum(), image.sum(), (text * image).sum(), (text**2).sum(),
            (image**2).sum(),
        ]  # fmt: skip
    total, text_sum, image_sum, both, text_squares, image_squares = sums
    independent = text_sum * image_sum / total
    spread = np.sqrt(
        max(text_squares - text_sum**2 / total, 0.0)
        * max(image_squares - image_sum**2 / total, 0.0)
    )
    by_chance = drawn["kept_text"] * drawn["kept_image"] / total
    return {
        "expected_both": round(float(both), 3),
        "if_independent": round(float(independent), 3),
        "ratio": round(float(both / independent), 4) if independent else 0.0,
        "correlation": round(float((both - independent) / spread), 4) if spread else 0.0,
        "drawn_if_independent": round(float(by_chance), 3),
    }


def _keep_rates(drawn: Mapping[str, Any]) -> dict[str, float]:
    total = max(drawn["n_in"], 1)
    return {
        "text": round(drawn["kept_text"] / total, 6),
        "image": round(drawn["kept_image"] / total, 6),
        "kept": round(drawn["kept"] / total, 6),
    }


def _heads(stages: list[StageReport]) -> dict[str, list[dict[str, Any]]]:
    names = {"balance": "entries", "sample": "clusters"}
    return {
        names[stage.stage]: list(stage.details["head"]) for stage in stages if stage.stage in names
    }
