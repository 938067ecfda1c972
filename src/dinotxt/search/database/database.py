"""Copy an index into a database that holds those of many machines, and search it there."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypeVar

from dinotxt.data.pictures import ImageSource, printable
from dinotxt.errors import BackendError, ConfigError, DataError
from dinotxt.inference.encoder import Encoder
from dinotxt.results.hit import Hit
from dinotxt.results.skip import OnSkip, Progress, Skip
from dinotxt.search.database.collection import Collection, Description
from dinotxt.search.engines import Vectors
from dinotxt.search.index import encode_query
from dinotxt.search.store import Record, Store, small_copy
from dinotxt.search.where import Filter

Answer = TypeVar("Answer")
_BLOCK_ROWS = 1000
_LEAST_CANDIDATES = 200
_MOST_CANDIDATES = 1000  # pgvector's limit
_SCANNED = 1_000_000  # of the graph, for a filter; pgvector stops after 20,000
_MOST_HITS = 1_000_000
_SEARCH = """
SELECT -distance, root, path FROM (
  SELECT root, path, embedding <#> %s AS distance FROM {table} {where}
  ORDER BY embedding::halfvec({dim}) <#> %s::halfvec({dim}) LIMIT %s) AS candidates
ORDER BY distance, root, path LIMIT %s
"""
_SEARCH_ALL = """
SELECT -(embedding <#> %s) AS score, root, path FROM {table} {where}
ORDER BY score DESC, root, path LIMIT %s
"""


class Sent(NamedTuple):
    """What a copy did: pictures of the index, of which were sent, and deleted in the database."""

    total: int
    sent: int
    deleted: int


def push(
    path: str | Path,
    collection: Collection,
    *,
    progress: Progress = lambda *_: None,
    on_skip: OnSkip = lambda _: None,
) -> Sent:
    """Bring what a collection holds of an indexed folder up to date with its index.

    Only what is new or changed is sent, in blocks that count at once; a copy that was broken off
    goes on when it is called again.

    Args:
        path: The folder of a finished index.
        collection: Where to; it keeps to one model.
        progress: Called with the numbers of pictures sent and to send.
        on_skip: Called with each picture whose name the database cannot hold.

    Raises:
        DataError: If the index is unfinished, or another model filled the collection.
        BackendError: If the database does not answer.
    """
    store = Store.open(Path(path))
    segment, manifest = store.base(), store.manifest
    if segment is None:
        raise DataError(f"{path} is unfinished: run `dinotxt index` again, it will go on.")
    if not _is_text(manifest.root):
        raise DataError(f"The database cannot hold {printable(manifest.root)}: rename the folder.")
    own = asdict(manifest)
    collection.create(Description(**{name: own[name] for name in Description._fields}))
    known = collection.digests(manifest.root)
    gone, todo = set(known), []
    for row, record in enumerate(_storable(segment.records(), Path(manifest.root), on_skip)):
        if record is not None:
            gone.discard(record.path)
            if known.get(record.path) != record.sha256:
                todo.append((row, record))
    collection.delete(manifest.root, sorted(gone))
    for start in range(0, len(todo), _BLOCK_ROWS):
        progress(start, len(todo))
        rows, records = zip(*todo[start : start + _BLOCK_ROWS], strict=True)
        collection.put(manifest.root, records, segment.vectors[list(rows)])
    progress(len(todo), len(todo))
    collection.link()
    return Sent(len(segment), len(todo), len(gone))


class DatabaseIndex:
    """A collection of a database, searched like an ``ImageIndex``; ``len`` asks for its size.

    Args:
        collection: An open connection; it must stay open.
        encoder: The model that filled it.

    Raises:
        DataError: If there is no such collection, or another model filled it.
    """

    engine = "pgvector"

    def __init__(self, collection: Collection, encoder: Encoder) -> None:
        known = collection.describe()
        if known.fingerprint != encoder.fingerprint:
            raise DataError(
                f"The collection {collection.name} was made with the model {known.model}, not with "
                f"{encoder.name}: use the same one."
            )
        self.name = collection.name
        self._collection = collection
        self._encoder = encoder
        self._turn = threading.Lock()  # a connection does one thing at a time

    def __len__(self) -> int:
        return self._ask(lambda: int(self._collection.one("SELECT count(*) FROM {table}")[0]))

    def search(
        self,
        words: str | None = None,
        *,
        image: ImageSource | None = None,
        k: int = 5,
        where: Filter | None = None,
    ) -> list[Hit]:
        """Return the ``k`` pictures that fit best; see ``ImageIndex.search``."""
        query = encode_query(self._encoder, words, image, k)
        return self.search_vectors(query, k=k, where=where)[0]

    def search_vectors(
        self, queries: Vectors, *, k: int = 5, where: Filter | None = None
    ) -> list[list[Hit]]:
        """Return the ``k`` best pictures for each row of ``float32 [Q, E]``, normalised.

        Where the graph gives fewer than ``k``, every picture that passes the filter is compared. A
        connection that was cut is opened again.

        Raises:
            ConfigError: If a folder of the filter is not absolute or no text of a database, or
                ``k`` is more than a million.
            BackendError: If the database does not answer.
        """
        if k > _MOST_HITS:
            raise ConfigError(f"k must be at most {_MOST_HITS:,} in a database, not {k:,}.")
        where = where or Filter()
        return self._ask(lambda: self._search(queries, k, where))

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        """Ask the database one thing at a time, once more where the connection turned out cut."""
        with self._turn:
            try:
                return call()
            except BackendError:
                if not self._collection.is_cut:
                    raise
                return call()

    def _search(self, queries: Vectors, k: int, where: Filter) -> list[list[Hit]]:
        condition, values = _condition(where)
        near, exact = (text.replace("{where}", condition) for text in (_SEARCH, _SEARCH_ALL))
        count = max(_LEAST_CANDIDATES, 4 * k)
        settings = {
            "hnsw.ef_search": str(min(count, _MOST_CANDIDATES)),
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(_SCANNED),
        }
        found = []
        with self._collection.settings(settings):
            for query in queries:
                rows = self._collection.all(near, query, *values, query, count, k)
                if len(rows) < k:
                    rows = self._collection.all(exact, query, *values, k)
                found.append([Hit(float(row[0]), str(Path(row[1]) / row[2])) for row in rows])
        return found

    def current(self) -> "DatabaseIndex":
        """Return this index: a database is always up to date."""
        return self

    def shown(self, path: str) -> str:
        """Return a hit's path, as valid text; whole, for several folders are in one collection."""
        return printable(path)

    def thumbnail(self, path: str | Path, side: int) -> bytes:
        """Return a JPEG of a picture whose long side is at most ``side``, read from its file.

        Raises:
            DataError: If this machine cannot read it.
        """
        return small_copy(path, side)


def _is_text(text: str) -> bool:
    """Tell if a database can hold a text: it must be UTF-8, without NUL."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False


def _storable(records: Iterable[Record], root: Path, on_skip: OnSkip) -> Iterator[Record | None]:
    """Yield the records, None in place of one whose name is not valid text."""
    for record in records:
        if not _is_text(record.path):
            reason = "its name is not UTF-8, which the database cannot hold"
            on_skip(Skip(printable(root / record.path), reason))
            yield None
            continue
        yield record


def _condition(where: Filter) -> tuple[str, list[object]]:
    """Return a filter as SQL and the values of its placeholders."""
    parts, values = [], list[object]()
    if where.folders:
        inside = []
        for folder in where.folders:
            if not Path(folder).is_absolute():
                raise ConfigError(f"{folder}: in a database, give a folder from its root on.")
            if not _is_text(folder):
                raise ConfigError(f"{printable(folder)!r} cannot be the name of a folder there.")
            whole = folder.rstrip("/") + "/"
            inside.append("starts_with(root || '/' || path, %s)")
            values.append(whole)
        parts.append(f"({' OR '.join(inside)})")
    for day, comparison in ((where.since, ">="), (where.until, "<=")):
        if day is not None:
            parts.append(f"day {comparison} %s")
            values.append(day)
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values
