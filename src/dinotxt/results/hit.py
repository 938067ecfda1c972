"""One picture that a search found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture and how well it fits the query.

    Attributes:
        score: The cosine between query and picture, from -1 to 1.
        path: The file, as the index knows it.
    """

    score: float
    path: str
