"""Tables of pictures: CSV, TSV, JSONL and Parquet with a path column.

Paths are relative to the table. Rows of one path are one picture with several captions.
"""

import ast
import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinotxt.data.pictures import folders_in
from dinotxt.data.readers.record import ImageRef
from dinotxt.data.readers.sample import clean_captions
from dinotxt.errors import DataError, import_extra
from dinotxt.files import is_address, read_json
from dinotxt.results.skip import OnSkip, Skip

TABLES = frozenset({".csv", ".tsv", ".txt", ".jsonl", ".parquet"})
_IN_FOLDERS = ("metadata.jsonl", "metadata.csv", "captions.txt", "results.csv")
_PATHS = (
    "path",
    "image",
    "image_name",
    "image_path",
    "img_path",
    "filepath",
    "file_path",
    "filename",
    "file_name",
    "file",
)
CAPTION_COLUMNS = (
    "captions",
    "caption",
    "text",
    "texts",
    "title",
    "sentence",
    "sentences",
    "comment",
)
_LABELS = ("label", "class", "cls", "category")
_MAX_FIELD = 1 << 26
_DELIMITERS = ",;\t|"
_ROWS = 65536


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        key: The path as the table has it.
        image: The picture.
        value: Its captions or its label, as the table has them.
    """

    key: str
    image: ImageRef
    value: Any


def table_in(folder: Path) -> Path | None:
    """Return the table that a folder of pictures came with: Hugging Face's or Kaggle's Flickr."""
    return next((path for name in _IN_FOLDERS if (path := folder / name).is_file()), None)


def read_captions(path: Path, report: OnSkip) -> Iterator[tuple[str, ImageRef, tuple[str, ...]]]:
    """Yield (key, image, captions) of each picture of a table, in the order of first mention."""
    gathered: dict[str, tuple[ImageRef, list[str]]] = {}
    for number, row in _rows(path, CAPTION_COLUMNS, report):
        try:
            captions = clean_captions(_listed(row.value))
        except DataError as error:
            report(Skip(f"{path}:{number}", str(error)))
            continue
        gathered.setdefault(row.key, (row.image, []))[1].extend(captions)
    for key, (image, captions_) in gathered.items():
        yield key, image, tuple(captions_)


def read_labels(path: Path, report: OnSkip) -> Iterator[Row]:
    """Yield the rows of a table with a label column; a path that comes twice is reported."""
    seen: set[str] = set()
    for number, row in _rows(path, _LABELS, report):
        if row.key in seen or row.value in (None, ""):
            reason = "this path came before" if row.key in seen else "the row has no label"
            report(Skip(f"{path}:{number}", reason))
            continue
        seen.add(row.key)
        yield row


def _rows(path: Path, wanted: tuple[str, ...], report: OnSkip) -> Iterator[tuple[int, Row]]:
    root: Path | None = None
    has_begun = False
    for number, row in _read(path, report):
        path_column, value_column = _filled(row, _PATHS), _filled(row, wanted)
        if path_column is None or value_column is None:
            if has_begun:
                report(
                    Skip(
                        f"{path}:{number}",
                        f"half a pair: it has only {', '.join(row) or 'nothing'}",
                    )
                )
                continue
            raise DataError(
                f"{path}:{number} has the columns {', '.join(map(str, row))}: it needs one of "
                f"{', '.join(_PATHS)} and one of {', '.join(wanted)}."
            )
        has_begun = True
        name = row[path_column]
        if isinstance(name, dict | bytes):
            raise DataError(
                f"{path} holds the pictures themselves, not their paths: train on it with "
                "data.stream, or write them to files."
            )
        if not isinstance(name, str) or not name.strip():
            report(Skip(f"{path}:{number}", "the row has no path"))
            continue
        root = root or _root(path, name)
        location = name if is_address(name) else str(root / name)
        yield number, Row(name, ImageRef(location), row[value_column])


def _root(path: Path, name: str) -> Path:
    """Return the folder that the paths of a table begin in: its own, or one in it."""
    roots = (path.parent, *folders_in(path.parent))
    return next((root for root in roots if (root / name).is_file()), path.parent)


def _filled(row: dict[str, Any], wanted: tuple[str, ...]) -> str | None:
    """Return the first wanted column that is not empty in a row, or else the first there is."""
    full = (name for name, value in row.items() if value not in (None, "", []))
    return pick_column(full, wanted) or pick_column(row, wanted)


def _listed(value: Any) -> Any:
    """Return the list that a cell of text holds, as JSON or as Python prints it, or the cell."""
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] + text[-1:] != "[]":
        return value
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return found if all(isinstance(caption, str) for caption in found) else value


def pick_column(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """Return the first of the wanted columns that a table has, in any case of letters."""
    known = {str(name).strip().lower(): name for name in names}
    return next((known[name] for name in wanted if name in known), None)


def _read(path: Path, report: OnSkip) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, row) of any kind of table."""
    try:
        if path.suffix.lower() == ".parquet":
            yield from _read_parquet(path)
        elif path.suffix.lower() == ".jsonl":
            yield from _read_jsonl(path, report)
        elif path.suffix.lower() == ".json":
            yield from _objects(path, enumerate(read_json(path), 1), report)
        else:
            yield from _read_csv(path, report)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}).") from error


def _lines(path: Path, report: OnSkip) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are valid UTF-8; report the others."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                report(Skip(f"{path}:{number}", f"not valid UTF-8 ({error.reason})"))


def _read_csv(path: Path, report: OnSkip) -> Iterator[tuple[int, dict[str, Any]]]:
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        for number, line in _lines(path, report):
            position = number
            yield line

    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        reader = csv.DictReader(lines(), delimiter=_delimiter(path), strict=True)
        columns = _columns(path, reader)
        while True:
            first = position + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                report(Skip(f"{path}:{first}", f"the row is not readable CSV ({error})"))
                continue
            if row is None:
                return
            if None in row:
                reason = f"the row has more cells than the {columns} of the header: quote its text"
                report(Skip(f"{path}:{first}", reason))
            else:
                yield position, row
    finally:
        csv.field_size_limit(limit)


def _columns(path: Path, reader: "csv.DictReader[str]") -> int:
    """Read the header and return how many columns it has."""
    try:
        return len(reader.fieldnames or ())
    except csv.Error as error:
        raise DataError(f"{path}:1 is not readable CSV ({error}).") from error


def _delimiter(path: Path) -> str:
    """Return what separates the cells: a tab in a ``.tsv``, else what the header has."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = next((line for _, line in _lines(path, lambda _: None)), "")
    return next((mark for mark in _DELIMITERS if mark in header), ",")


def _read_jsonl(path: Path, report: OnSkip) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path, report):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            report(Skip(f"{path}:{number}", f"the JSON is damaged ({error})"))
            continue
        yield from _objects(path, [(number, row)], report)


def _objects(
    path: Path, rows: Iterable[tuple[int, Any]], report: OnSkip
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in rows:
        if isinstance(row, dict):
            yield number, row
        else:
            report(Skip(f"{path}:{number}", "it is not a JSON object"))


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    parquet = import_extra("pyarrow.parquet", extra="parquet")
    arrow = import_extra("pyarrow", extra="parquet")
    try:
        with parquet.ParquetFile(path) as table:
            known = table.schema_arrow.names
            wanted = {*_PATHS, *CAPTION_COLUMNS, *_LABELS}
            chosen = [name for name in known if name.strip().lower() in wanted]
            number = 0
            for batch in table.iter_batches(batch_size=_ROWS, columns=chosen or known):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except arrow.ArrowException as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}).") from error
