"""The folder of an index: what counts in it, and how it is read and written."""

from dinotxt.search.store.approximation import carry_over, open_index, refresh
from dinotxt.search.store.segment import Record, Segment, write_segment
from dinotxt.search.store.state import safe_state, verify_index
from dinotxt.search.store.store import MANIFEST, Store, check_model, prepare, recorded_model
from dinotxt.search.store.table import Table
from dinotxt.search.store.thumbnails import Thumbnails, remove_thumbnails, small_copy

__all__ = [
    "MANIFEST",
    "Record",
    "Segment",
    "Store",
    "Table",
    "Thumbnails",
    "carry_over",
    "check_model",
    "open_index",
    "prepare",
    "recorded_model",
    "refresh",
    "remove_thumbnails",
    "safe_state",
    "small_copy",
    "verify_index",
    "write_segment",
]
