"""``dinotxt serve`` as a process: a tiny model, its own port, rude clients and signals."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import dinotxt
from dinotxt.cli.main import app

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    start: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.start["url"])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1])), timeout=60)


def _start(folder: Path, *options: object) -> Server:
    started = folder / "started.json"
    command = [sys.executable, "-m", "dinotxt", "serve", "--port", "0", "--json", str(started)]
    process = subprocess.Popen([*command, *map(str, options)])
    deadline = time.monotonic() + _START_SECONDS
    while not started.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            pytest.fail("the server does not start")
        time.sleep(0.05)
    return Server(process, json.loads(started.read_text()))


def _stop(server: Server) -> int:
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(60)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, album: Path
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    index = folder / "album.index"
    encoder = dinotxt.load(tiny_model, device="cpu")
    dinotxt.ImageIndex.build(encoder, album, index, num_workers=1)
    running = _start(folder, "--model", tiny_model, "--device", "cpu", "--index", index)
    yield running
    if running.process.poll() is None:
        _stop(running)


def test_the_json_says_where_the_server_listens(server: Server, tiny_model: Path) -> None:
    assert list(server.start) == [
        "task",
        "version",
        "seconds",
        "url",
        "model",
        "index",
        "skipped",
    ]
    assert server.start["task"] == "serve"
    assert server.url.startswith("http://127.0.0.1:")


def test_every_endpoint_answers_as_the_library_does(
    server: Server, tiny_model: Path, album: Path
) -> None:
    encoder = dinotxt.load(tiny_model, device="cpu")
    content = (album / "3.png").read_bytes()
    labels = ["cat", "dog"]
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        form = {"labels": labels, "templates": "simple"}
        files = {"image": content}
        found = client.post("/v1/classify", files=files, data=form).json()["labels"]
        expected = dinotxt.ZeroShotClassifier(encoder, labels, templates="simple")(content)
        assert [one["label"] for one in found] == [one.label for one in expected.labels]
        assert [one["probability"] for one in found] == pytest.approx(
            [one.probability for one in expected.labels], abs=1e-4
        )
        segments = client.post("/v1/segment", files=files, data=form).json()
        areas = dinotxt.Segmenter(encoder, labels, templates="simple")(content).areas
        assert {one["label"]: one["area"] for one in segments["labels"]} == pytest.approx(
            areas, abs=1e-3
        )
        texts = client.post("/v1/embed/texts", json={"texts": labels}).json()["embeddings"]
        assert np.allclose(texts, encoder.encode_text(labels), atol=1e-5)
        images = client.post("/v1/embed/images", files={"images": content}).json()["embeddings"]
        assert np.allclose(images, encoder.encode_image(content), atol=1e-5)
        hits = client.post("/v1/search", files=files, data={"k": 1}).json()["hits"]
        assert hits[0]["path"] == "3.png"
        assert client.get(hits[0]["picture"]).headers["content-type"] == "image/jpeg"
        assert client.get("/healthz").json() == {"status": "ok", "model": tiny_model.name}
        assert str(tiny_model.parent) not in client.get("/v1/info").text
        assert "dinotxt_batch_items_count" in client.get("/metrics").text


def test_many_clients_are_batched_and_answered_alike(server: Server) -> None:
    def ask(number: int) -> list[float]:
        answer = httpx2.post(
            f"{server.url}/v1/embed/texts", json={"texts": [f"text {number % 8}"]}, timeout=60
        )
        assert answer.status_code == 200
        return [float(value) for value in answer.json()["embeddings"][0]]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(64)))
    for number in range(64):
        assert np.allclose(found[number], found[number % 8], atol=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/../app.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000,
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data\r\n"
        b"Content-Length: 3\r\n\r\nabc",
    ],
)
def test_raw_rubbish_is_refused_and_the_server_goes_on(server: Server, content: bytes) -> None:
    answer = b""
    with server.connect() as connection:
        # A server that refuses a long request closes before it has read it all: both may fail then.
        with suppress(ConnectionError):
            connection.sendall(content)
        with suppress(ConnectionError):
            answer = connection.recv(4096)
    assert answer or len(content) > 65_536, "refused without an answer"
    assert not answer or answer.split(b" ", 2)[1] in {b"400", b"404", b"421", b"422"}
    assert httpx2.get(f"{server.url}/healthz", timeout=60).status_code == 200


def test_cut_connections_leave_nothing_behind(server: Server, album: Path) -> None:
    content = (album / "0.png").read_bytes()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="labels"\r\n\r\nred\r\n'
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    head = (
        f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    ).encode()
    for part in (len(body), len(body) // 2, 0) * 8:
        with server.connect() as connection:
            connection.sendall(head + body[:part])
    deadline = time.monotonic() + 60
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        while "dinotxt_active_requests 1.0" not in client.get("/metrics").text:
            assert time.monotonic() < deadline, "requests of gone clients are still active"
            time.sleep(0.1)


def test_sigterm_under_load_finishes_what_was_begun(tmp_path: Path, tiny_model: Path) -> None:
    server = _start(tmp_path, "--model", tiny_model, "--device", "cpu")
    statuses: list[int] = []
    broken: list[str] = []
    stopping = threading.Event()

    def hammer(number: int) -> None:
        for turn in range(10_000):
            try:
                answer = httpx2.post(
                    f"{server.url}/v1/embed/texts", json={"texts": [f"{number} {turn}"]}, timeout=60
                )
                statuses.append(answer.status_code)
                assert answer.status_code == 503 or len(answer.json()["embeddings"]) == 1
            except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                if not stopping.is_set():
                    broken.append(repr(error))
                return

    clients = [threading.Thread(target=hammer, args=(number,)) for number in range(8)]
    for client in clients:
        client.start()
    while len(statuses) <= 64 and not broken and any(client.is_alive() for client in clients):
        time.sleep(0.01)
    stopping.set()
    assert _stop(server) == 0
    for client in clients:
        client.join(60)
    assert broken == []
    assert len(statuses) > 64
    assert set(statuses) <= {200, 503}


@pytest.mark.slow
def test_a_client_that_never_finishes_its_header_is_dropped(server: Server) -> None:
    with server.connect() as connection:
        connection.settimeout(40)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert connection.recv(100) == b""


def test_the_help_names_the_address_and_the_token() -> None:
    result = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "127.0.0.1" in result.output
    assert "DINOTXT_TOKEN" in result.output


def test_an_empty_token_is_not_taken_for_none() -> None:
    result = CliRunner().invoke(app, ["serve", "--model", "none", "--token", ""])
    assert result.exit_code == 1
    assert "token is empty" in result.stderr


def test_a_port_that_is_taken_is_an_error_in_words(tmp_path: Path, tiny_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ["--model", str(tiny_model), "--device", "cpu", "--port", str(port)]
        result = CliRunner().invoke(app, ["serve", *options])
    assert result.exit_code == 1
    assert "give another --port" in result.stderr
