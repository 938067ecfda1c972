"""What the server counts; the security headers of every answer; a crash becomes JSON."""

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinotxt.serving.errors import error_response

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LOGGER = logging.getLogger(__name__)


class Metrics:
    """The counters of one server.

    Attributes:
        requests: By route, method and status.
        seconds: From the first byte of a request to the last of its answer, by route.
        batch_items: Pictures or texts in one forward pass, by kind.
        cached_texts: Text embeddings asked for, by whether they were in the cache.
        active: Requests that are being handled.
        queued: Requests that wait for the model, by kind.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dinotxt_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "dinotxt_request_seconds",
            "Time from request to answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_items = Histogram(
            "dinotxt_batch_items",
            "Pictures or texts in one forward pass.",
            ("kind",),
            buckets=_ITEMS,
            registry=self.registry,
        )
        self.cached_texts = Counter(
            "dinotxt_cached_texts",
            "Text embeddings asked for.",
            ("outcome",),
            registry=self.registry,
        )
        self.active = Gauge(
            "dinotxt_active_requests", "Requests being handled.", registry=self.registry
        )
        self.queued = Gauge(
            "dinotxt_queued_requests",
            "Requests that wait for the model.",
            ("kind",),
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)


class Observe:
    """The outermost ASGI middleware.

    Args:
        app: What answers the requests.
        metrics: Where answers are counted.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            _LOGGER.exception("%s %s failed", scope["method"], scope["path"])
            if status is not None:
                raise
            message = "The server made a mistake; its log has the details."
            await error_response(500, message)(scope, receive, send_with_headers)
        finally:
            self._count(scope, status, time.perf_counter() - start)

    def _count(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count by the route's pattern: a client must not be able to make new series."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(route, method, str(status or 499)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
