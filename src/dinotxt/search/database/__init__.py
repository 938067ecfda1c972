"""The same search in PostgreSQL with pgvector."""

from dinotxt.search.database.collection import SCHEMES, Collection
from dinotxt.search.database.database import DatabaseIndex, push

__all__ = ["SCHEMES", "Collection", "DatabaseIndex", "push"]
