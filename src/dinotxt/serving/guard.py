"""Hold every request to the limits on number, bytes and time, whatever its client does."""

import asyncio
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinotxt.serving.config import RequestLimits
from dinotxt.serving.errors import ApiError, error_response
from dinotxt.serving.observe import Metrics

_DRAIN_SECONDS = 2.0
_DRAIN_BYTES = 64 << 20


class Guard:
    """ASGI middleware that refuses, times out and cancels.

    A refusal is answered after the rest of the request was read and thrown away (for two seconds
    at most): a client that is still sending would otherwise see a reset instead of the answer.

    Args:
        app: What answers the requests.
        limits: What a request may cost.
        metrics: Counts the active requests.
    """

    def __init__(self, app: ASGIApp, *, limits: RequestLimits, metrics: Metrics) -> None:
        self.app = app
        self.limits = limits
        self.metrics = metrics
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self.limits)
        refusal = self._refusal(scope)
        if refusal is not None:
            await exchange.answer(scope, refusal)
            return
        self._active += 1
        self.metrics.active.inc()
        try:
            await self._handle(scope, exchange)
        finally:
            self._active -= 1
            self.metrics.active.dec()

    def _refusal(self, scope: Scope) -> ApiError | None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit():
            return ApiError(400, "Content-Length is not a number.")
        if int(declared) > self.limits.max_bytes:
            return _too_many_bytes(self.limits)
        if self._active >= self.limits.max_requests and scope["path"] != "/healthz":
            return ApiError(503, "The server is busy: try again in a few seconds.")
        return None

    async def _handle(self, scope: Scope, exchange: "_Exchange") -> None:
        work = asyncio.ensure_future(self.app(scope, exchange.receive, exchange.send))
        watch = asyncio.create_task(exchange.wait_until_gone())
        try:
            await asyncio.wait(
                {work, watch},
                timeout=self.limits.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            timed_out = not work.done() and not watch.done()
            if not work.done() and not exchange.complete:
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        finally:
            work.cancel()
            watch.cancel()
        if timed_out:
            seconds = self.limits.timeout
            await exchange.answer(
                scope, ApiError(504, f"This took more than {seconds:g} seconds: ask for less.")
            )


class _Exchange:
    """One request and its answer.

    Attributes:
        complete: Whether the whole answer is sent.
    """

    def __init__(self, receive: Receive, send: Send, limits: RequestLimits) -> None:
        self.complete = False
        self._started = False
        self._receive = receive
        self._send = send
        self._limits = limits
        self._deadline = time.monotonic() + limits.body_timeout
        self._num_bytes = 0
        self._has_body = asyncio.Event()
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        """Receive a part of the request; afterwards, wait until the client goes.

        Raises:
            ApiError: 413 after too many bytes, 408 after too long a time.
        """
        if self._has_body.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            seconds = self._limits.body_timeout
            message_text = f"The request did not arrive within {seconds:g} seconds."
            raise ApiError(408, message_text) from None
        self._note(message)
        if self._num_bytes > self._limits.max_bytes:
            raise _too_many_bytes(self._limits)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; before its start, read what the client still sends."""
        if message["type"] == "http.response.start":
            self._started = True
            if not self._has_body.is_set():
                await self._drain()
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.complete = True

    async def answer(self, scope: Scope, error: ApiError) -> None:
        """Send an error, or break the connection off if an answer is under way."""
        if self._started:
            raise error
        response = error_response(error.status_code, error.detail, error.headers)
        await response(scope, self._receive, self.send)

    async def wait_until_gone(self) -> None:
        """Return when the client has closed the connection."""
        await self._has_body.wait()
        while not self._gone.is_set():
            self._note(await self._receive())

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self._gone.set()
            self._has_body.set()
            return
        self._num_bytes += len(message.get("body", b""))
        if not message.get("more_body"):
            self._has_body.set()

    async def _drain(self) -> None:
        limit = self._num_bytes + _DRAIN_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._has_body.is_set() and self._num_bytes < limit:
                    self._note(await self._receive())


def _too_many_bytes(limits: RequestLimits) -> ApiError:
    megabytes = limits.max_bytes / (1 << 20)
    return ApiError(413, f"The request is larger than {megabytes:g} MiB: send smaller pictures.")
