"""Run the application with uvicorn: timeouts for idle connections, an orderly end on SIGTERM."""

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dinotxt.errors import BackendError
from dinotxt.serving.config import ServeConfig

_HEADER_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 10
_BACKLOG = 256


def run(app: FastAPI, config: ServeConfig, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first.

    Args:
        app: The application.
        config: Where to listen, and how long to wait at the end.
        on_ready: Called with the server's address when it accepts connections.

    Raises:
        BackendError: If the address cannot be bound.
    """
    listener = _bind(config.host, config.port)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=_ImpatientProtocol,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=config.shutdown_seconds,
        )
    )
    # Uvicorn repeats the signal when it is done, for whoever had handled it before: nobody here.
    previous = {one: signal.signal(one, _ignore) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        with listener:
            asyncio.run(_serve(server, listener, lambda: on_ready(_address(config, listener))))
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


async def _serve(
    server: uvicorn.Server, listener: socket.socket, on_started: Callable[[], None]
) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        on_started()
    await serving


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        message = f"{host}:{port} cannot be bound ({error.strerror}): give another --port or --host"
        raise BackendError(f"{message}.") from None
    return listener


def _address(config: ServeConfig, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{port}"


def _ignore(_signal: int, _frame: object) -> None:
    """Do nothing."""


class _ImpatientProtocol(H11Protocol):
    """Closes a connection whose next request does not begin with a whole header in time."""

    _waiting: asyncio.TimerHandle | None = None
    _idle_since: object = None  # the last request, as of the last look

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting = self.loop.call_later(_HEADER_SECONDS, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self) -> None:
        """Look again and again; a request under way has its own limits."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._idle_since is self.cycle:
            self.transport.close()
            return
        self._idle_since = self.cycle if is_idle else self
        self._waiting = self.loop.call_later(_HEADER_SECONDS, self._close_if_idle)
