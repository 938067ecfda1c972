"""Which rows of an array fit a query best: exactly, or approximately with faiss."""

from dinotxt.search.engines.exact import ExactIndex, Index, Rows, Vectors
from dinotxt.search.engines.faiss import (
    ApproximateEngine,
    Engine,
    FaissIndex,
    build_approximate,
    choose,
    read_approximate,
)

__all__ = [
    "ApproximateEngine",
    "Engine",
    "ExactIndex",
    "FaissIndex",
    "Index",
    "Rows",
    "Vectors",
    "build_approximate",
    "choose",
    "read_approximate",
]
