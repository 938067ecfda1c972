"""The pool: the input as tables of captions, and the files that all stages read and write."""

from dinotxt.curation.pool.files import (
    block_path,
    by_key,
    neighbours,
    read_rows,
    read_table,
    save_array,
    save_parts,
    write_table,
)
from dinotxt.curation.pool.pairs import collect_pairs, table_paths
from dinotxt.curation.pool.sources import fingerprint, table_records

__all__ = [
    "block_path",
    "by_key",
    "collect_pairs",
    "fingerprint",
    "neighbours",
    "read_rows",
    "read_table",
    "save_array",
    "save_parts",
    "table_paths",
    "table_records",
    "write_table",
]
