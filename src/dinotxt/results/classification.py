"""What a zero-shot classifier says about one picture."""

from dataclasses import dataclass
from typing import NamedTuple


class Label(NamedTuple):
    """One label and how well it fits.

    Attributes:
        label: The text as the user gave it.
        probability: Its share among the given labels, from 0 to 1.
        similarity: The cosine between picture and text, from -1 to 1; independent of the others.
    """

    label: str
    probability: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of one picture, the best first.

    Attributes:
        image: The path of the picture, or a description of it where it has none.
        labels: Every label that was asked for, by falling probability.
    """

    image: str
    labels: tuple[Label, ...]

    def top(self, k: int = 1) -> tuple[tuple[str, float], ...]:
        """Return the ``k`` best labels, each with its probability."""
        return tuple((label.label, label.probability) for label in self.labels[:k])
