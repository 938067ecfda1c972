"""Many clients against a server of this machine: rates, latencies, statuses and memory.

As a script it holds 64 clients for a minute on a mix of requests, and prints the common report
with rates and latencies under ``load``:
``python benchmarks/load.py [--clients 64] [--seconds 60] [--quick] [--json FILE|-]``.
"""

import argparse
import asyncio
import ctypes
import io
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from harness import at_least, limit, write_report

_START_SECONDS = 180.0
_PR_SET_PDEATHSIG = 1
_STATED = (200, 429, 503)
_MEMORY_GROWTH = 1.1  # what still counts as flat
_LABELS = ("dog", "cat", "red car", "beach", "person on a bicycle", "food", "building", "bird")

MakeRequest = Callable[[], bytes]


@dataclass(slots=True)
class Load:
    """What a number of clients saw.

    Attributes:
        seconds: Of each answered request.
        statuses: How often each status came.
        duration: Seconds from the first request to the last answer.
    """

    seconds: list[float] = field(default_factory=list)
    duration: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float:
        """Return a latency in milliseconds."""
        return round(1000 * float(np.percentile(self.seconds, percent)), 1)

    def share_of_stated(self) -> float:
        """Return which part was answered, or refused by a stated limit."""
        return sum(self.statuses[status] for status in _STATED) / self.statuses.total()

    def summary(self, clients: int) -> dict[str, object]:
        """Return rates, statuses and latencies as plain types."""
        return {
            "clients": clients,
            "requests": len(self.seconds),
            "requests_per_second": round(len(self.seconds) / self.duration, 1),
            "statuses": {str(status): number for status, number in sorted(self.statuses.items())},
            "milliseconds": {
                "mean": round(1000 * statistics.mean(self.seconds), 1),
                **{f"p{percent}": self.percentile(percent) for percent in (50, 95, 99)},
            },
        }


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``dinotxt serve``."""

    process: "subprocess.Popen[bytes]"
    url: str

    def memory(self) -> float:
        """Return the resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextmanager
def serving(model: str, *options: str) -> Iterator[Server]:
    """Start ``dinotxt serve`` on a free port of the loopback interface; stop it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        started = Path(folder) / "started.json"
        command = [sys.executable, "-m", "dinotxt", "serve", "--model", model, "--port", "0"]
        process = subprocess.Popen(
            [*command, "--quiet", "--json", str(started), *options], preexec_fn=_end_with_parent
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not started.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("The server does not start.")
                time.sleep(0.05)
            yield Server(process, json.loads(started.read_text())["url"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _end_with_parent() -> None:
    """Ask Linux to end this process when its parent dies, however that dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def hold(
    url: str, make: MakeRequest, *, clients: int, seconds: float = 1e9, requests: int = 10**9
) -> Load:
    """Let clients ask one request after the other, each on its own connection.

    Args:
        url: The server.
        make: Gives the bytes of the next request.
        clients: How many at a time.
        seconds: When to stop.
        requests: Or after how many.
    """
    load = Load()
    budget = iter(range(requests))
    end = time.monotonic() + seconds

    async def ask() -> None:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.monotonic() < end and next(budget, None) is not None:
            start = time.perf_counter()
            writer.write(make())
            status, is_open = await _read_answer(reader)
            load.seconds.append(time.perf_counter() - start)
            load.statuses[status] += 1
            if not is_open:
                writer.close()
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(ask() for _ in range(clients)))

    start = time.monotonic()
    asyncio.run(run())
    load.duration = time.monotonic() - start
    return load


def text_requests() -> MakeRequest:
    """Return a maker of ``/v1/embed/texts`` requests, each with a text never seen before."""
    number = count(time.time_ns())

    def make() -> bytes:
        words = f"a photo of a dog and the number {next(number)}"
        return _post("/v1/embed/texts", "application/json", json.dumps({"texts": [words]}).encode())

    return make


def picture_requests(path: str, **fields: str) -> MakeRequest:
    """Return a maker of requests with a 640x480 JPEG and labels."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((640, 480)).save(stream, "JPEG")
    parts = {"labels": ",".join(_LABELS), "templates": "simple", **fields}
    body = b"".join(
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    )
    body += b'--cut\r\nContent-Disposition: form-data; name="image"; filename="p.jpg"\r\n\r\n'
    body += stream.getvalue() + b"\r\n--cut--\r\n"
    request = _post(path, "multipart/form-data; boundary=cut", body)
    return lambda: request


def mixed_requests() -> MakeRequest:
    """Return a maker of classifications, texts and segmentations, 6 to 3 to 1."""
    classify, texts = picture_requests("/v1/classify"), text_requests()
    segment = picture_requests("/v1/segment", output="rle")
    turns = count()
    order = (
        classify,
        texts,
        classify,
        classify,
        segment,
        classify,
        texts,
        classify,
        texts,
        classify,
    )
    return lambda: order[next(turns) % len(order)]()


def _post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Return the status and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers.get("connection") != "close"


def main() -> None:
    """Run the load and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, help="default: 60, or 10 with --quick")
    parser.add_argument("--quick", action="store_true", help="ten seconds")
    parser.add_argument("--json", metavar="FILE|-", default="-")
    given = parser.parse_args()
    seconds = given.seconds or (10.0 if given.quick else 60.0)
    with serving(given.model) as server:
        make = mixed_requests()
        hold(server.url, make, clients=given.clients, seconds=seconds / 3)  # warm-up
        before = server.memory()
        load = hold(server.url, make, clients=given.clients, seconds=seconds)
        after = server.memory()
    figures = {
        "answered": at_least(load.share_of_stated(), goal=1.0, unit="of all requests"),
        "memory": limit(after, limit=_MEMORY_GROWTH * before, unit="MiB"),
    }
    memory = {"before": round(before, 1), "after": round(after, 1)}
    write_report("load", figures, given.json, load=load.summary(given.clients), memory_mib=memory)


if __name__ == "__main__":
    main()
