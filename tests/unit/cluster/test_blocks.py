"""Blocks cover every row once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.cluster.blocks import blocks_of, width_of
from dinotxt.errors import DataError


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 7), st.integers(1, 4))
def test_blocks_cover_every_row_once_in_order(lengths: list[int], rows: int, chunk: int) -> None:
    total = sum(lengths)
    whole = np.arange(2 * total, dtype=np.float32).reshape(total, 2)
    blocks = blocks_of(np.split(whole, np.cumsum(lengths)[:-1]), rows=rows)
    seen = [piece for block in blocks for piece in block.chunks(chunk)]
    assert np.concatenate([np.empty((0, 2)), *seen]).tolist() == whole.tolist()
    assert all(len(block) == rows for block in blocks[:-1])
    assert [block.start for block in blocks] == list(range(0, total, rows))


def test_take_reads_rows_over_parts() -> None:
    whole = np.arange(20, dtype=np.float32).reshape(10, 2)
    block = blocks_of([whole[:3], whole[3:8], whole[8:]], rows=10)[0]
    rows = np.array([0, 2, 3, 7, 9])
    assert block.take(rows).tolist() == whole[rows].tolist()


def test_width_is_the_number_of_columns() -> None:
    assert width_of(blocks_of([np.zeros((4, 5), dtype=np.float16)])) == 5


def test_different_widths_are_an_error() -> None:
    with pytest.raises(DataError, match="same width"):
        blocks_of([np.zeros((2, 3), dtype=np.float32), np.zeros((2, 4), dtype=np.float32)])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.npy"
    path.write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"broken\.npy"):
        blocks_of([path])
