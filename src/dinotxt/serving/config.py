"""What a server listens to, whom it answers and what one request may cost."""

from dataclasses import field
from ipaddress import ip_address
from typing import Annotated

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)

from dinotxt.config import configuration


@configuration
class RequestLimits:
    """What one request, or all that wait, may cost; each limit has its own status.

    Attributes:
        max_bytes: The largest request body (413).
        max_pixels: The largest picture, width times height as its header says (413).
        max_images: Pictures in one request (422).
        max_labels: Labels in one request (422).
        max_texts: Texts in one request (422).
        max_characters: The longest text, label or prompt template (422).
        max_hits: The most results of one search (422).
        max_requests: Requests that are handled at the same time (503).
        max_queue: Requests that wait for one kind of work (429).
        timeout: Seconds until a request is given up (504).
        body_timeout: Seconds that a client has to send a request (408).
    """

    max_bytes: PositiveInt = 32 << 20
    max_pixels: PositiveInt = 50_000_000
    max_images: PositiveInt = 16
    max_labels: Annotated[int, Field(ge=1, le=65_000)] = 200
    max_texts: PositiveInt = 256
    max_characters: PositiveInt = 1_000
    max_hits: PositiveInt = 200
    max_requests: PositiveInt = 128
    max_queue: PositiveInt = 64
    timeout: PositiveFloat = 120.0
    body_timeout: PositiveFloat = 30.0


@configuration
class ServeConfig:
    """How a server runs.

    Attributes:
        host: The address to bind; loopback unless told otherwise.
        port: The port; 0 takes a free one.
        token: If set, every request to ``/v1`` and ``/metrics`` must carry it as a bearer token.
        allowed_hosts: Names that the ``Host`` header may hold besides the address itself. A
            server on loopback answers to no other name, so that a web page cannot reach it by
            rebinding a domain to 127.0.0.1.
        batch_size: The most pictures or texts in one forward pass.
        batch_wait: Seconds that an idle model waits for company for the first request.
        decode_threads: Threads that decode and resize pictures.
        cache_size: Text embeddings that are kept.
        shutdown_seconds: How long requests may go on after SIGTERM.
        limits: What a request may cost.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    token: Annotated[SecretStr, Field(min_length=1)] | None = None
    allowed_hosts: tuple[str, ...] = ()
    batch_size: PositiveInt = 32
    batch_wait: NonNegativeFloat = 0.002
    decode_threads: PositiveInt = 2
    cache_size: PositiveInt = 16_384
    shutdown_seconds: NonNegativeInt = 30
    limits: RequestLimits = field(default_factory=RequestLimits)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def accepted_hosts(self) -> frozenset[str] | None:
        """The names that the ``Host`` header may hold, or None for any."""
        if not self.is_loopback and not self.allowed_hosts:
            return None
        return frozenset({"localhost", "127.0.0.1", "::1", self.host, *self.allowed_hosts})
