"""What the server needs of an index: a folder's or a database's."""

from pathlib import Path
from typing import Protocol

from dinotxt.results.hit import Hit
from dinotxt.search.engines import Vectors
from dinotxt.search.where import Filter


class Searched(Protocol):
    """An index that answers vectors with pictures."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    @property
    def engine(self) -> str:
        """How it is searched."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def current(self) -> "Searched":
        """Return its newest finished state."""

    def search_vectors(self, queries: Vectors, *, k: int, where: Filter | None) -> list[list[Hit]]:
        """Return the best pictures for each row of ``float32 [Q, E]``."""

    def shown(self, path: str) -> str:
        """Return what of a hit's path a client may see."""

    def thumbnail(self, path: str | Path, side: int) -> bytes:
        """Return a JPEG of a hit, or raise DataError."""
