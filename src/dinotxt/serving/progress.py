"""Work that reports how far it is, as lines of JSON."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from starlette.exceptions import HTTPException

from dinotxt.errors import DinotxtError
from dinotxt.results.skip import Progress
from dinotxt.serving.errors import error_content

Value = TypeVar("Value")


class ProgressStream(Generic[Value]):
    """Runs work in the background and gives its progress and its result as lines.

    Args:
        work: Takes a function to call with (done, total), and returns the result.
        render: Turns the result into JSON; it is awaited, too.
    """

    def __init__(
        self,
        work: Callable[[Progress], Awaitable[Value]],
        render: Callable[[Value], Awaitable[str]],
    ) -> None:
        self._events: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        self._render = render
        self._task = asyncio.ensure_future(self._run(work))

    async def start(self) -> None:
        """Wait until the work is under way.

        Raises:
            Exception: What the work raises before its first report.
        """
        try:
            first = await self._events.get()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if first is None:
            await self._task
        self._events.put_nowait(first)

    async def lines(self) -> AsyncIterator[str]:
        """Yield ``{"progress": {"done", "total"}}`` lines, then a ``result`` or an ``error``."""
        try:
            while (event := await self._events.get()) is not None:
                done, total = event
                yield json.dumps({"progress": {"done": done, "total": total}}) + "\n"
            yield await self._last_line()
        finally:
            self._task.cancel()

    async def _run(self, work: Callable[[Progress], Awaitable[Value]]) -> str:
        try:
            result = await work(lambda done, total: self._events.put_nowait((done, total)))
            return await self._render(result)
        finally:
            self._events.put_nowait(None)

    async def _last_line(self) -> str:
        try:
            return f'{{"result": {await self._task}}}\n'
        except HTTPException as error:
            return json.dumps(error_content(error.status_code, error.detail)) + "\n"
        except DinotxtError as error:
            return json.dumps(error_content(422, str(error))) + "\n"
