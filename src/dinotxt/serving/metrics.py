"""What the server counts, in the format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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
