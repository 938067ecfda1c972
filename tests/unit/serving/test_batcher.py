import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from dinotxt.serving.batcher import Batcher, Lane
from dinotxt.serving.errors import ApiError


def _batcher(
    call: Callable[[list[int]], Sequence[int]], *, batch_size: int = 8, max_queue: int = 8
) -> tuple[Batcher[int, int], list[int]]:
    sizes: list[int] = []
    batcher = Batcher(
        call,
        Lane("test"),
        batch_size=batch_size,
        batch_wait=0.01,
        max_queue=max_queue,
        on_batch=sizes.append,
    )
    return batcher, sizes


def _double(items: list[int]) -> list[int]:
    return [2 * item for item in items]


def test_requests_that_come_together_share_one_call() -> None:
    async def main() -> list[list[int]]:
        batcher, sizes = _batcher(_double)
        results = await asyncio.gather(*(batcher.submit([i, i + 100]) for i in range(3)))
        assert sizes == [6]
        return list(results)

    assert asyncio.run(main()) == [[0, 200], [2, 202], [4, 204]]


def test_a_full_batch_leaves_the_rest_for_the_next_call() -> None:
    async def main() -> None:
        batcher, sizes = _batcher(_double, batch_size=4)
        await asyncio.gather(*(batcher.submit([i, i, i]) for i in range(3)))
        assert sizes == [3, 3, 3]

    asyncio.run(main())


def test_a_request_larger_than_a_batch_is_a_batch_of_its_own() -> None:
    async def main() -> None:
        batcher, sizes = _batcher(_double, batch_size=2)
        assert await batcher.submit(list(range(5))) == [0, 2, 4, 6, 8]
        assert sizes == [5]

    asyncio.run(main())


def test_a_request_that_fails_does_not_fail_its_companions() -> None:
    def call(items: list[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return items

    async def main() -> None:
        batcher, _ = _batcher(call)
        results = await asyncio.gather(
            *(batcher.submit([i]) for i in (1, 13, 2)), return_exceptions=True
        )
        assert results[0] == [1]
        assert isinstance(results[1], ValueError)
        assert results[2] == [2]

    asyncio.run(main())


def test_a_full_queue_refuses_with_429_and_says_when_to_come_back() -> None:
    begun, gate = threading.Event(), threading.Event()

    def wait(items: list[int]) -> list[int]:
        begun.set()
        assert gate.wait(60)
        return items

    async def main() -> None:
        batcher, _ = _batcher(wait, batch_size=1, max_queue=2)
        running = asyncio.create_task(batcher.submit([0]))
        await asyncio.to_thread(begun.wait)
        waiting = [asyncio.create_task(batcher.submit([i])) for i in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as refusal:
            await batcher.submit([3])
        assert refusal.value.status_code == 429
        assert refusal.value.headers == {"Retry-After": "1"}
        gate.set()
        assert await asyncio.gather(running, *waiting) == [[0], [1], [2]]

    asyncio.run(main())


def test_the_work_of_a_client_that_has_gone_is_not_done() -> None:
    begun, gate, seen = threading.Event(), threading.Event(), list[int]()

    def call(items: list[int]) -> list[int]:
        seen.extend(items)
        begun.set()
        assert gate.wait(60)
        return items

    async def main() -> None:
        batcher, _ = _batcher(call, batch_size=1)
        running = asyncio.create_task(batcher.submit([0]))
        await asyncio.to_thread(begun.wait)
        gone = asyncio.create_task(batcher.submit([1]))
        stays = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        assert await running == [0]
        assert await stays == [2]
        assert seen == [0, 2]

    asyncio.run(main())


def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    async def main() -> None:
        batcher, _ = _batcher(_double)
        waiting = asyncio.create_task(batcher.submit([4]))
        await asyncio.sleep(0)
        await batcher.close()
        assert await waiting == [8]
        with pytest.raises(ApiError) as refusal:
            await batcher.submit([5])
        assert refusal.value.status_code == 503

    asyncio.run(main())


def test_no_items_give_no_results() -> None:
    async def main() -> None:
        batcher, sizes = _batcher(_double)
        assert await batcher.submit([]) == []
        assert sizes == []

    asyncio.run(main())
