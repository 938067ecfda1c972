import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinotxt.serving.config import RequestLimits
from dinotxt.serving.errors import ApiError
from dinotxt.serving.guard import Guard
from dinotxt.serving.observe import Metrics

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": []}


class Client:
    """The other side of a connection: sends what it is told to and keeps what it gets."""

    def __init__(self, *messages: Message | float) -> None:
        self.messages = list(messages)
        self.got: list[Message] = []

    async def receive(self) -> Message:
        while self.messages:
            message = self.messages.pop(0)
            if not isinstance(message, float):
                return message
            await asyncio.sleep(message)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.got.append(message)

    @property
    def status(self) -> int | None:
        return self.got[0]["status"] if self.got else None


def _guard(app: Callable[[Scope, Receive, Send], Awaitable[Any]], **limits: Any) -> Guard:
    return Guard(app, limits=RequestLimits(**limits), metrics=Metrics())


async def _read(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        body = await Request(scope, receive).body()
        response = Response(str(len(body)))
    except ApiError as error:
        response = Response(error.detail, error.status_code)
    await response(scope, receive, send)


def _part(content: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


def test_a_body_in_parts_arrives_whole() -> None:
    client = Client(_part(b"ab"), 0.01, _part(b"c", more=False))
    asyncio.run(_guard(_read)(SCOPE, client.receive, client.send))
    assert (client.status, client.got[1]["body"]) == (200, b"3")


def test_a_client_that_sends_too_slowly_gets_408() -> None:
    client = Client(_part(b"a"), 5.0, _part(b"b", more=False))
    guard = _guard(_read, body_timeout=0.05, timeout=20)
    asyncio.run(asyncio.wait_for(guard(SCOPE, client.receive, client.send), 4))
    assert client.status == 408


def test_the_rest_of_a_request_that_is_too_long_is_read_before_the_answer() -> None:
    client = Client(*[_part(b"x" * 10)] * 5, _part(b"", more=False))
    asyncio.run(_guard(_read, max_bytes=20)(SCOPE, client.receive, client.send))
    assert client.status == 413
    assert client.messages == []


def test_more_requests_than_allowed_get_503_but_the_health_is_answered() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def wait(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] != "/healthz":
                await gate.wait()
            await Response("ok")(scope, receive, send)

        guard = _guard(wait, max_requests=1)
        first, second, health = (Client(_part(b"", more=False)) for _ in range(3))
        running = asyncio.create_task(guard(SCOPE, first.receive, first.send))
        await asyncio.sleep(0.01)
        await guard(SCOPE, second.receive, second.send)
        await guard({**SCOPE, "path": "/healthz"}, health.receive, health.send)
        gate.set()
        await running
        assert (first.status, second.status, health.status) == (200, 503, 200)
        assert (b"retry-after", b"2") in second.got[0]["headers"]

    asyncio.run(main())


def test_work_for_a_client_that_has_gone_is_cancelled() -> None:
    cancelled = []

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    client = Client(_part(b"", more=False), 0.02, {"type": "http.disconnect"})
    asyncio.run(asyncio.wait_for(_guard(work)(SCOPE, client.receive, client.send), 4))
    assert cancelled == [True]
    assert client.got == []


def test_an_answer_that_stops_half_way_is_broken_off() -> None:
    async def stall(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.sleep(30)

    client = Client(_part(b"", more=False))
    with pytest.raises(ApiError, match="more than"):
        asyncio.run(_guard(stall, timeout=0.05)(SCOPE, client.receive, client.send))


def test_a_crash_comes_through_and_frees_the_place() -> None:
    async def crash(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    async def main(guard: ASGIApp) -> None:
        for _ in range(3):
            client = Client(_part(b"", more=False))
            with pytest.raises(RuntimeError, match="broken"):
                await guard(SCOPE, client.receive, client.send)

    asyncio.run(main(_guard(crash, max_requests=1)))


@pytest.mark.parametrize("length", [b"many", b"-1", b"1e3"])
def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    client = Client(_part(b"", more=False))
    scope = {**SCOPE, "headers": [(b"content-length", length)]}
    asyncio.run(_guard(_read)(scope, client.receive, client.send))
    assert client.status == 400
