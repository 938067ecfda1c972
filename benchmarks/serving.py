"""Micro-batching against one request at a time, at 32 clients, lite model, two servers.

``texts`` is ``/v1/embed/texts`` with a new text each time; ``batching`` is ``/v1/classify`` with
labels that are in the cache. The peer is the same server with ``--batch-size 1``.
"""

from harness import Figure, main, paired_rates
from load import MakeRequest, hold, picture_requests, serving, text_requests

_CLIENTS = 32


def measure(quick: bool) -> dict[str, Figure]:
    """Return the figures ``batching`` and ``texts``."""
    return compare("lite", requests=64 if quick else 256, runs=3 if quick else 7)


def compare(model: str, *, requests: int, runs: int) -> dict[str, Figure]:
    """Measure both endpoints on two servers of one model."""
    with serving(model) as batched, serving(model, "--batch-size", "1") as single:

        def rates(make: MakeRequest) -> Figure:
            return paired_rates(
                lambda: hold(batched.url, make, clients=_CLIENTS, requests=requests),
                lambda: hold(single.url, make, clients=_CLIENTS, requests=requests),
                work=requests,
                unit="requests/s",
                runs=runs,
            )

        return {
            "batching": rates(picture_requests("/v1/classify")),
            "texts": rates(text_requests()),
        }


if __name__ == "__main__":
    main("serving", measure)
