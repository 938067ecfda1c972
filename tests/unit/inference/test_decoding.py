from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.errors import DataError
from dinotxt.inference.decoding import check_finite, pixel_batches
from dinotxt.results.skip import Skip


def _load(name: str) -> NDArray[np.float32]:
    if name.startswith("bad"):
        raise DataError(f"{name} is damaged.")
    return np.full((3, 4, 8 if name.startswith("wide") else 4), float(name[-1]), np.float32)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_keep_the_order_and_leave_out_bad_pictures(num_workers: int) -> None:
    skipped: list[Skip] = []
    sources = ["a0", "bad", "a2", "a3", "a4"]
    batches = list(
        pixel_batches(
            sources, _load, name=str, batch_size=3, num_workers=num_workers, on_skip=skipped.append
        )
    )
    assert [batch.indices.tolist() for batch in batches] == [[0, 2, 3], [4]]
    assert batches[0].pixels[:, 0, 0, 0].tolist() == [0, 2, 3]
    assert skipped == [Skip("bad", "bad is damaged.")]


def test_a_bad_picture_raises_its_error_when_nobody_listens() -> None:
    with pytest.raises(DataError, match="bad1 is damaged"):
        list(pixel_batches(["a0", "bad1"], _load, name=str, batch_size=2))


def test_another_size_starts_a_new_batch() -> None:
    batches = pixel_batches(["a0", "wide1", "wide2", "a3"], _load, name=str, batch_size=8)
    assert [batch.indices.tolist() for batch in batches] == [[0], [1, 2], [3]]


def test_only_a_few_pictures_are_read_ahead() -> None:
    taken: list[int] = []

    def endless() -> Iterator[str]:
        for index in range(10**9):
            taken.append(index)
            yield f"a{index % 10}"

    batches = pixel_batches(endless(), _load, name=str, batch_size=4, num_workers=1)
    next(batches)
    assert len(taken) < 30


def test_features_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(DataError, match="not finite"):
        check_finite(np.array([1, np.nan], dtype=np.float32))
