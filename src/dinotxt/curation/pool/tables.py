"""The Parquet tables of a curation (extra ``curate``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinotxt.errors import DataError, import_extra
from dinotxt.files import atomic_path

_ROWS = 1 << 14


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns (Arrow arrays, NumPy arrays or lists) as Parquet, atomically."""
    arrow = import_extra("pyarrow", extra="curate")
    parquet = import_extra("pyarrow.parquet", extra="curate")
    with atomic_path(path) as temporary:
        parquet.write_table(
            arrow.table(columns), temporary, compression="zstd", row_group_size=_ROWS
        )


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Return an Arrow table.

    Raises:
        DataError: If the file is missing or damaged.
    """
    arrow = import_extra("pyarrow", extra="curate")
    parquet = import_extra("pyarrow.parquet", extra="curate")
    try:
        return parquet.read_table(path, columns=list(columns) if columns else None)
    except (OSError, arrow.ArrowException) as error:
        message = f"{path} is missing or damaged ({error}): delete it and run the stage again."
        raise DataError(message) from None
