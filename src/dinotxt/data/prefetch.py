"""Read ahead: work on the next inputs in threads while the caller is busy with this one."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_WORKERS = 8


def default_workers() -> int:
    """Return how many threads decode where the user states nothing: the cores it may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores)


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_workers: int | None = None,
    ahead: int = 64,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, at most ``ahead`` results early.

    Pillow decodes and resizes outside Python's lock, so that threads are enough.

    Args:
        function: Called in several threads; an exception reaches the caller in its turn.
        items: Read lazily, in the caller's thread.
        num_workers: Threads; 0 calls the function in the caller's thread, None takes one a core.
        ahead: The most results that wait to be taken.
    """
    workers = default_workers() if num_workers is None else num_workers
    if workers == 0:
        yield from map(function, items)
        return
    remaining = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(remaining, max(ahead, workers))
        )
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
