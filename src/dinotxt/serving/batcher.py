"""Micro-batching: requests that come in together go through the model together.

A :class:`Lane` is one thread that runs a model, one call after the other. Any number of
:class:`Batcher` share a lane. A batch is put together at the moment the lane is free, so that
requests which arrive while the model is busy travel in the next call.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dinotxt.serving.errors import ApiError

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


class Lane:
    """One thread that runs one call at a time, in the order in which turns are asked for.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self.turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[[], Value]) -> Value:
        """Run a call on the thread; the caller must hold ``turn``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Let the running call finish and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    items: Sequence[Item]
    done: "asyncio.Future[list[Result]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher(Generic[Item, Result]):
    """Joins the items of several requests into one call.

    Args:
        call: Takes a list of items and returns as many results; runs on the lane's thread.
        lane: The thread to run on.
        batch_size: Items after which no further request joins a batch; a single request with
            more items is a batch of its own.
        batch_wait: Seconds to wait for company when the first request finds the lane idle.
        max_queue: Requests that may wait.
        on_batch: Told the number of items of every batch.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Sequence[Result]],
        lane: Lane,
        *,
        batch_size: int,
        batch_wait: float,
        max_queue: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._call = call
        self._lane = lane
        self._batch_size = batch_size
        self._batch_wait = batch_wait
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def depth(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def admit(self) -> None:
        """Refuse a request that could not be submitted, before work is put into it.

        Raises:
            ApiError: 429 if too many requests wait already, 503 if the server stops.
        """
        if self._closed:
            raise ApiError(503, "The server is shutting down: try another one.")
        if len(self._waiting) >= self._max_queue:
            raise ApiError(429, "Too many requests are waiting: try again in a second.")

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Return the results of the items, in their order.

        Raises:
            ApiError: As ``admit``.
        """
        self.admit()
        if not items:
            return []
        entry: _Entry[Item, Result] = _Entry(items)
        self._waiting.append(entry)
        self._arrived.set()
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await entry.done

    async def close(self) -> None:
        """Finish what waits, refuse what comes."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if self._closed and not self._waiting:
                return
            if len(self._waiting) < self._batch_size and self._batch_wait:
                await asyncio.sleep(self._batch_wait)
            async with self._lane.turn:
                batch = self._take()
                if batch:
                    await self._run(batch)
            if not self._waiting and not self._closed:
                self._arrived.clear()

    def _take(self) -> list[_Entry[Item, Result]]:
        """Take the next requests off the queue, without those whose client has gone."""
        batch: list[_Entry[Item, Result]] = []
        count = 0
        while self._waiting:
            entry = self._waiting[0]
            if entry.done.done():
                self._waiting.popleft()
                continue
            if batch and count + len(entry.items) > self._batch_size:
                break
            batch.append(self._waiting.popleft())
            count += len(entry.items)
        return batch

    async def _run(self, batch: list[_Entry[Item, Result]]) -> None:
        items = [item for entry in batch for item in entry.items]
        self._on_batch(len(items))
        try:
            results = await self._lane.run(lambda: self._call(items))
        except Exception as error:
            await self._fail(batch, error)
            return
        start = 0
        for entry in batch:
            stop = start + len(entry.items)
            if not entry.done.done():
                entry.done.set_result(list(results[start:stop]))
            start = stop

    async def _fail(self, batch: list[_Entry[Item, Result]], error: Exception) -> None:
        """Give the error to its request; of several, find out whose it is by running each alone."""
        if len(batch) > 1:
            for entry in batch:
                await self._run([entry])
        elif not batch[0].done.done():
            batch[0].done.set_exception(error)
