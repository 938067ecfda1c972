"""What a server listens to, whom it answers and what one request may cost."""

from ipaddress import ip_address

from pydantic import Field, SecretStr

from dinotxt.config import Config


class RequestLimits(Config):
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

    max_bytes: int = Field(32 << 20, ge=1)
    max_pixels: int = Field(50_000_000, ge=1)
    max_images: int = Field(16, ge=1)
    max_labels: int = Field(200, ge=1, le=65_000)
    max_texts: int = Field(256, ge=1)
    max_characters: int = Field(1_000, ge=1)
    max_hits: int = Field(200, ge=1)
    max_requests: int = Field(128, ge=1)
    max_queue: int = Field(64, ge=1)
    timeout: float = Field(120.0, gt=0)
    body_timeout: float = Field(30.0, gt=0)


class ServeConfig(Config):
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
    port: int = Field(8000, ge=0, le=65_535)
    token: SecretStr | None = Field(None, min_length=1)
    allowed_hosts: tuple[str, ...] = ()
    batch_size: int = Field(32, ge=1)
    batch_wait: float = Field(0.002, ge=0)
    decode_threads: int = Field(2, ge=1)
    cache_size: int = Field(16_384, ge=1)
    shutdown_seconds: int = Field(30, ge=0)
    limits: RequestLimits = RequestLimits()

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
