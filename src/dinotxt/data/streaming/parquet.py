"""Parquet shards with the bytes of their pictures, unpacked to tars that give any row at once."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinotxt.data.readers import CAPTION_COLUMNS, DAMAGE, clean_captions, pick_column
from dinotxt.errors import DataError, import_extra
from dinotxt.files import atomic_path

_IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes", "picture")
_KEYS = ("__key__", "key", "uid", "id", "image_id")
_ROWS = 64


class TornParquetError(DataError):
    """A Parquet file is there, but its bytes are no whole Parquet file."""


def num_rows(source: Any) -> int:
    """Return the rows of a Parquet file (a path or an open file) by its footer.

    Raises:
        TornParquetError: If it is no whole Parquet file.
        DataError: If it cannot be read at all.
    """
    parquet = import_extra("pyarrow.parquet", extra="parquet")
    arrow = import_extra("pyarrow", extra="parquet")
    try:
        with parquet.ParquetFile(source) as table:
            return int(table.metadata.num_rows)
    except (arrow.ArrowException, OSError) as error:
        raise _refusal(source, error) from error


def unpack_parquet(source: Path, target: Path) -> None:
    """Write the rows of a Parquet file as samples of a tar, whole or not at all.

    Row ``i`` becomes sample ``i``: its picture's bytes, its captions, and its key where a column
    holds one. A row without a picture keeps its place, so that rows can be told by number. So does
    a damaged one, with the damage in place of its content: what Arrow reads of a row group before
    the damage is used, the rest of the group is lost, and the other groups are whole.

    Args:
        source: A file with a column of bytes (or of Hugging Face's ``{bytes, path}``) and a
            column of captions.
        target: The tar.

    Raises:
        TornParquetError: If it is no whole Parquet file.
        DataError: If the file cannot be read at all or lacks a column.
    """
    with atomic_path(target) as temporary, tarfile.open(temporary, "w") as archive:
        for number, row in enumerate(_rows(source)):
            for name, content in _members(number, row):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


@dataclass(frozen=True, slots=True)
class _Row:
    image: Any = None
    captions: Any = None
    key: Any = None
    damage: str = ""


def _rows(source: Path) -> Iterator[_Row]:
    parquet = import_extra("pyarrow.parquet", extra="parquet")
    arrow = import_extra("pyarrow", extra="parquet")
    try:
        with parquet.ParquetFile(source, page_checksum_verification=True) as table:
            columns = _columns(source, table.schema_arrow.names)
            for group in range(table.num_row_groups):
                yield from _group_rows(table, group, columns)
    except (arrow.ArrowException, OSError) as error:
        raise _refusal(source, error) from error


def _group_rows(table: Any, group: int, columns: Sequence[str | None]) -> Iterator[_Row]:
    """Yield as many rows as a row group states; those that it does not give are damaged."""
    arrow = import_extra("pyarrow", extra="parquet")
    chosen = [name for name in columns if name is not None]
    stated, given = table.metadata.row_group(group).num_rows, 0
    damage = "it ends early"
    try:
        for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=chosen):
            for place in range(batch.num_rows):
                yield _row(batch, place, columns)
                given += 1
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        damage = str(error).partition("\n")[0]
    for _ in range(stated - given):
        yield _Row(damage=f"row group {group} of the Parquet file is damaged ({damage})")


def _row(batch: Any, place: int, columns: Sequence[str | None]) -> _Row:
    try:
        image, captions, key = (
            None if name is None else batch.column(name)[place].as_py() for name in columns
        )
        return _Row(image, captions, key)
    except UnicodeDecodeError as error:
        return _Row(damage=f"its text is not valid UTF-8 ({error.reason})")


def _refusal(source: Any, error: Exception) -> DataError:
    """Tell a torn file from one that the disk or the network does not give.

    Arrow finds some tears as an OSError, which then has no number; at an address the network may
    have made it.
    """
    by_system = isinstance(error, OSError) and (
        error.errno is not None or not isinstance(source, str | Path)
    )
    kind = DataError if by_system else TornParquetError
    return kind(f"{source} is not a readable Parquet file ({error}).")


def _columns(source: Path, names: Iterable[str]) -> tuple[str, str, str | None]:
    """Return the columns of the pictures, the captions and, where there is one, the keys."""
    known = list(names)
    image, captions = pick_column(known, _IMAGES), pick_column(known, CAPTION_COLUMNS)
    if image is None or captions is None:
        raise DataError(
            f"{source} has the columns {', '.join(known)}: a stream needs the bytes of pictures in "
            f"one of {', '.join(_IMAGES)} and captions in one of {', '.join(CAPTION_COLUMNS)}."
        )
    return image, captions, pick_column(known, _KEYS)


def _members(number: int, row: _Row) -> Iterator[tuple[str, bytes]]:
    stem = f"{number:08d}" if row.key is None else f"{number:08d}-{_safe(str(row.key))}"
    if row.damage:
        yield f"{stem}{DAMAGE}", row.damage.encode()
        return
    try:
        content: dict[str, Any] = {"captions": clean_captions(row.captions)}
    except DataError:
        content = {"captions": [0]}  # what is not text is found when the sample is read
    yield f"{stem}.json", json.dumps(content).encode()
    content_bytes = row.image.get("bytes") if isinstance(row.image, Mapping) else row.image
    if isinstance(content_bytes, bytes) and content_bytes:
        yield f"{stem}.jpg", content_bytes  # the kind is told by the bytes, not by the name


def _safe(key: str) -> str:
    """Return a key without what a tar name or a stem takes as a sign."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in key)[:80]
