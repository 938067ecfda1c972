import threading
from collections.abc import Iterator

import pytest

from dinotxt.data.prefetch import prefetch


@pytest.mark.parametrize("num_workers", [0, 1, 3, None])
def test_results_come_in_the_order_of_the_items(num_workers: int | None) -> None:
    squares = prefetch(lambda number: number**2, range(50), num_workers=num_workers, ahead=4)
    assert list(squares) == [number**2 for number in range(50)]


def test_no_more_than_the_stated_number_of_items_is_taken_early() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = prefetch(lambda number: number, items(), num_workers=2, ahead=5)
    assert next(results) == 0
    assert len(taken) <= 6


def test_an_exception_reaches_the_caller_in_its_turn() -> None:
    results = prefetch(lambda number: 1 // (3 - number), range(6), num_workers=2)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_several_threads_work_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=60)
    assert len(list(prefetch(lambda _: barrier.wait(), range(2), num_workers=2))) == 2
