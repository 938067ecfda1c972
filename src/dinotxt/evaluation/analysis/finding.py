"""What an analysis finds: figures, tables, and the pictures that show it best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from dinotxt.results.report import Report


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture that shows a finding.

    Attributes:
        image: The picture's name.
        shows: What it shows, and what is measured.
        value: How strongly.
        draw: Makes the drawing.
    """

    image: str
    shows: str
    value: float
    draw: Callable[[], Image.Image] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The outcome of an analysis.

    Attributes:
        report: The figures and the settings.
        details: Tables by name, of plain types.
        examples: The pictures that show it best, the strongest first.
    """

    report: Report
    details: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Example] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types only, ready for JSON."""
        shown = [
            {"image": one.image, "shows": one.shows, "value": round(one.value, 6)}
            for one in self.examples
        ]
        return {**self.report.to_dict(), **self.details, "examples": shown}


def strongest(values: Sequence[float], count: int) -> list[int]:
    """Return the positions of the largest values above 0, the largest first."""
    order = sorted(range(len(values)), key=lambda position: (-values[position], position))
    return [position for position in order[:count] if values[position] > 0]
