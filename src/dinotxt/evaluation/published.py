"""What the paper reports in its Tables 5 and 6, as data, to stand beside what is measured."""

from functools import cache
from pathlib import Path

import yaml

from dinotxt.results.report import PublishedFigure

_FILE = Path(__file__).with_name("published.yaml")
_ALIASES = {"coco-val2017": "coco-karpathy"}  # the paper does not say which of the two it used


def published(dataset: str | None) -> tuple[PublishedFigure, ...]:
    """Return the figures of a data set (fractions), such as of ``imagenet``; none if unknown."""
    column = _ALIASES.get(dataset or "", dataset)
    return tuple(figure for name, figure in _figures() if name == column)


@cache
def _figures() -> tuple[tuple[str, PublishedFigure], ...]:
    figures = []
    for table in yaml.safe_load(_FILE.read_text("utf-8"))["tables"]:
        for model, values in table["rows"].items():
            for (name, metric), value in zip(table["columns"], values, strict=True):
                if value is not None:
                    figure = PublishedFigure(model, metric, value / 100, table["source"])
                    figures.append((name, figure))
    return tuple(figures)
