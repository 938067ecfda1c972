"""One collection of pictures in PostgreSQL with pgvector, which several machines may fill.

A picture is known by the folder that was indexed and its path in it. The vectors are stored whole,
and a graph (HNSW) over their half-precision copies is kept by the database.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from dinotxt.errors import BackendError, ConfigError, DataError, import_extra
from dinotxt.search.engines import Vectors
from dinotxt.search.store import Record

SCHEMES = ("postgresql://", "postgres://")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KNOWN = "SELECT name FROM pg_settings WHERE name = ANY(%s)"
_MOST_HALVES = 4000  # pgvector has no graph over longer ones
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS dinotxt_collections (
  name text PRIMARY KEY, model text NOT NULL, fingerprint text NOT NULL, transform text NOT NULL,
  size integer NOT NULL, dim integer NOT NULL);
"""
_PICTURES = """
CREATE TABLE IF NOT EXISTS {table} (
  root text NOT NULL, path text COLLATE "C" NOT NULL, sha256 text NOT NULL, day date,
  embedding vector({dim}) NOT NULL, PRIMARY KEY (root, path));
CREATE INDEX IF NOT EXISTS {table}_day ON {table} (day);
"""
_GRAPH = (
    "CREATE INDEX IF NOT EXISTS {table}_graph ON {table} "
    "USING hnsw ((embedding::halfvec({dim})) halfvec_ip_ops)"
)


class Description(NamedTuple):
    """What a collection's vectors were made with; see ``store.Manifest``."""

    model: str
    fingerprint: str
    transform: str
    size: int
    dim: int


class Collection:
    """An open connection to one collection; use it as a context.

    Args:
        dial: Gives a connection of psycopg in autocommit; called again when one has broken.
        name: Of the collection.
    """

    def __init__(self, dial: Callable[[], Any], name: str) -> None:
        self.name = name
        self.table = f"dinotxt_{name}_pictures"
        self._dial = dial
        self._dialled = dial()

    @classmethod
    def connect(cls, url: str, name: str = "pictures") -> "Collection":
        """Connect to a database and make its tables where they are missing.

        Args:
            url: ``postgresql://USER:PASSWORD@HOST:PORT/NAME``.
            name: Of the collection: small letters, digits and ``_``.

        Raises:
            ConfigError: If the URL or the name is not of this form.
            BackendError: If psycopg is not installed or the database does not answer.
        """
        if not url.startswith(SCHEMES):
            raise ConfigError(f"A database is given as postgresql://..., not {without_secret(url)}")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name of a collection: use letters, digits and _.")
        import_extra("psycopg", extra="pgvector")
        return cls(lambda: _connect(url), name)

    def __enter__(self) -> "Collection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._dialled.close()

    @property
    def is_cut(self) -> bool:
        """Whether the connection has ended; the next use opens another."""
        return bool(self._dialled.closed)

    @property
    def _connection(self) -> Any:
        if self._dialled.closed:
            self._dialled = self._dial()
        return self._dialled

    def describe(self) -> Description:
        """Return what the collection was made with.

        Raises:
            DataError: If there is no such collection.
        """
        row = self.one("SELECT {columns} FROM dinotxt_collections WHERE name = %s", self.name)
        if row is None:
            raise DataError(
                f"The database has no collection {self.name}: fill one with "
                "`dinotxt index FOLDER --out INDEX --database URL`."
            )
        return Description(*row)

    def create(self, description: Description) -> None:
        """Make the collection's table, or check that it was made with the same model.

        Raises:
            DataError: If another model or input size made its vectors.
        """
        self.run(
            "INSERT INTO dinotxt_collections VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            self.name,
            *description,
        )
        known = self.describe()
        if known[1:3] != description[1:3]:
            raise DataError(
                f"The collection {self.name} was made with {known.model} at {known.size} pixels, "
                f"not with {description.model} at {description.size}: use another --collection."
            )
        self.run(_PICTURES)

    def digests(self, root: str) -> dict[str, str]:
        """Return the path and the SHA-256 of each picture of one indexed folder."""
        rows = self.all("SELECT path, sha256 FROM {table} WHERE root = %s", root)
        return dict(rows)

    def put(self, root: str, records: Sequence[Record], vectors: Vectors) -> None:
        """Insert or replace pictures, all or none."""
        with _speaking(), self._connection.transaction():
            cursor = self._connection.cursor()
            cursor.execute(f"CREATE TEMP TABLE fresh (LIKE {self.table}) ON COMMIT DROP")
            with cursor.copy("COPY fresh FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(["text", "text", "text", "date", "vector"])
                for record, vector in zip(records, vectors, strict=True):
                    day = np.datetime64(record.day or "NaT", "D").item()
                    copy.write_row((root, record.path, record.sha256, day, vector))
            cursor.execute(
                f"INSERT INTO {self.table} SELECT * FROM fresh ON CONFLICT (root, path) DO UPDATE "
                "SET sha256 = EXCLUDED.sha256, day = EXCLUDED.day, embedding = EXCLUDED.embedding"
            )

    def delete(self, root: str, paths: Sequence[str]) -> None:
        """Delete pictures of one indexed folder."""
        self.run("DELETE FROM {table} WHERE root = %s AND path = ANY(%s)", root, list(paths))

    def link(self) -> None:
        """Make the graph over the vectors if there is none; the database keeps it up to date."""
        if self.describe().dim <= _MOST_HALVES:
            self.run(_GRAPH)

    def one(self, query: str, *values: object) -> Any:
        """Return the first row of a query, or None; ``{table}`` stands for the pictures."""
        rows = self.all(query, *values)
        return rows[0] if rows else None

    def all(self, query: str, *values: object) -> list[Any]:
        """Return the rows of a query."""
        with _speaking():
            rows: list[Any] = self._connection.execute(self._fill(query), values).fetchall()
        return rows

    def run(self, query: str, *values: object) -> None:
        """Run statements that return nothing."""
        with _speaking():
            self._connection.execute(self._fill(query), values or None)

    @contextmanager
    def settings(self, values: Mapping[str, str]) -> Iterator[None]:
        """Set parameters of the session for a block; one that the server does not know is left."""
        with _speaking(), self._connection.transaction():
            known = {row[0] for row in self._connection.execute(_KNOWN, (list(values),)).fetchall()}
            for name, value in values.items():
                if name in known:
                    self._connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            yield

    def _fill(self, query: str) -> str:
        columns = ", ".join(Description._fields)
        dim = self.describe().dim if "{dim}" in query else ""
        filled = query.replace("{columns}", columns).replace("{table}", self.table)
        return filled.replace("{dim}", str(dim))


def _connect(url: str) -> Any:
    psycopg = import_extra("psycopg", extra="pgvector")
    vectors = import_extra("pgvector.psycopg", extra="pgvector")
    with _speaking(url):
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
        connection.execute("SET client_min_messages TO warning")
        connection.execute(_TABLES)
        connection.execute("SELECT '[1]'::vector")  # loads what knows its settings
        vectors.register_vector(connection)
    return connection


def without_secret(url: str) -> str:
    """Return an address without the name and the password in it."""
    return _CREDENTIALS.sub("//", url)


@contextmanager
def _speaking(url: str = "") -> Iterator[None]:
    """Turn what the database says into an error in words, without the password."""
    psycopg = import_extra("psycopg", extra="pgvector")
    try:
        yield
    except psycopg.Error as error:
        said = without_secret(" ".join(str(error).split()))
        place = f" at {without_secret(url)}" if url else ""
        raise BackendError(f"The database{place} refuses: {said}") from None
