"""The outcome of an evaluation: what was measured, on what, and how sure it is."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

Interval: TypeAlias = tuple[float, float]
Metric: TypeAlias = float | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """A figure that a paper states, to stand beside what was measured.

    Attributes:
        model: Whose it is.
        metric: The name of the metric, as in ``Report.metrics``.
        value: A fraction from 0 to 1.
        source: Where it stands.
    """

    model: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation of one model on one data set.

    Attributes:
        task: ``classification``, ``retrieval``, ``segmentation`` or ``text``.
        model: The model's name.
        data: The data set, as it was given.
        n: The number of pictures, or of rows of text.
        metrics: Fractions from 0 to 1 by name; a mapping by class for ``iou``. NaN means that a
            class was not in the data.
        ci: The 95% bootstrap interval of a metric, by the metric's name.
        protocol: Every setting that has a bearing on the figures.
        published: What papers state for this data set.
    """

    task: str
    model: str
    data: str
    n: int
    metrics: Mapping[str, Metric]
    ci: Mapping[str, Interval] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    published: Sequence[PublishedFigure] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types only, ready for JSON; NaN becomes None."""
        content: dict[str, Any] = {
            "task": self.task,
            "model": self.model,
            "data": self.data,
            "n": self.n,
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "ci": {name: [_plain(bound) for bound in pair] for name, pair in self.ci.items()},
            "protocol": dict(self.protocol),
        }
        if self.published:
            content["published"] = [asdict(figure) for figure in self.published]
        return content

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """Return a heading, a table of the metrics and one table for each metric by class."""
        scalars = {name: v for name, v in self.metrics.items() if not isinstance(v, Mapping)}
        by_class = {name: v for name, v in self.metrics.items() if isinstance(v, Mapping)}
        rows = [(name, _number(value), self._interval(name)) for name, value in scalars.items()]
        unit = "rows" if self.task == "text" else "pictures"
        heading = f"**{self.task}** of `{self.model}` on `{self.data}` ({self.n} {unit})"
        parts = [heading, _table(("metric", "value", "95% interval"), rows)]
        for name, values in by_class.items():
            parts.append(_table(("class", name), [(c, _number(v)) for c, v in values.items()]))
        parts += self._published()
        return "\n\n".join(parts) + "\n"

    def _published(self) -> list[str]:
        """Return one table a metric: published figures, and the measured one among them."""
        tables = []
        for metric in dict.fromkeys(figure.metric for figure in self.published):
            rows = [
                (figure.model, _number(figure.value), figure.source)
                for figure in self.published
                if figure.metric == metric
            ]
            value = self.metrics.get(metric)
            if isinstance(value, float):
                rows.insert(0, (f"{self.model} (measured here)", _number(value), ""))
            tables.append(_table(("model", metric, "source"), rows))
        return tables

    def _interval(self, name: str) -> str:
        if name not in self.ci:
            return ""
        low, high = self.ci[name]
        return f"{_number(low)} to {_number(high)}"


def _plain(value: Metric) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return None if math.isnan(value) else float(value)


def _number(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.4f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table: text on the left, figures aligned to the right."""
    cells = [head, *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(_pad(row[i], widths[i], right=i > 0) for i in range(len(head))) + " |"
        for row in cells
    ]
    rule = "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _pad(text: str, width: int, *, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
