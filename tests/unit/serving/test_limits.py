import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from dinotxt.serving.config import RequestLimits

Connect = Callable[..., TestClient]


def _classify(client: TestClient, content: bytes, **data: object) -> Any:
    fields = {"labels": "red", "templates": "{}", **data}
    return client.post("/v1/classify", files={"image": content}, data=fields)


def _assert_error(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["status"] == status
    assert words in error["message"]


def _png(width: int, height: int) -> bytes:
    """Return a file that announces a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one))
        for one in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_request_that_announces_too_many_bytes_is_refused(connect: Connect) -> None:
    client = connect(limits=RequestLimits(max_bytes=1000))
    _assert_error(_classify(client, bytes(2000)), 413, "send smaller pictures")


def test_a_request_of_unknown_length_is_cut_off_at_the_limit(connect: Connect) -> None:
    client = connect(limits=RequestLimits(max_bytes=1000))

    def parts() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 500

    answer = client.post(
        "/v1/embed/texts", content=parts(), headers={"Content-Type": "application/json"}
    )
    _assert_error(answer, 413, "send smaller pictures")


def test_a_decompression_bomb_is_refused_by_its_header(client: TestClient) -> None:
    _assert_error(_classify(client, _png(60_000, 60_000)), 413, "megapixels")


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"<svg/>", _png(4, 4), b"\xff\xd8\xff\xe0" + bytes(40)]
)
def test_what_is_not_a_picture_is_refused(client: TestClient, content: bytes) -> None:
    _assert_error(_classify(client, content), 422, "picture cannot be used")


def test_a_truncated_picture_is_refused(client: TestClient) -> None:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(stream, "JPEG")
    whole = stream.getvalue()
    assert _classify(client, whole).status_code == 200
    _assert_error(_classify(client, whole[: len(whole) // 2]), 422, "damaged or truncated")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode_are_answered(client: TestClient, mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (1, 3)).save(stream, "TIFF" if mode == "CMYK" else "PNG")
    assert _classify(client, stream.getvalue()).status_code == 200


def test_an_address_is_not_fetched(client: TestClient) -> None:
    answer = client.post(
        "/v1/classify", data={"image": "http://127.0.0.1:1/a.jpg", "labels": "red"}
    )
    assert answer.status_code == 422
    address = b"http://127.0.0.1:1/a.jpg"
    _assert_error(_classify(client, address), 422, "picture cannot be used")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("", "at least one"),
        ("red,,blue", "number 2 is empty"),
        ("red, a | ", "number 2 is empty"),
        ("red,red", "twice"),
        ("a,b,c,d", "4 are too many"),
        ("x" * 51, "more than 50 characters"),
        (",".join(map(str, range(10_000))), "10000 are too many"),
    ],
)
def test_labels_have_limits(
    connect: Connect, pictures: dict[str, Path], labels: str, words: str
) -> None:
    client = connect(limits=RequestLimits(max_labels=3, max_characters=50))
    _assert_error(_classify(client, pictures["red"].read_bytes(), labels=labels), 422, words)


@pytest.mark.parametrize("templates", ["/etc/passwd", "../secret", "no slot"])
def test_templates_never_name_a_file(
    client: TestClient, pictures: dict[str, Path], templates: str
) -> None:
    answer = _classify(client, pictures["red"].read_bytes(), templates=templates)
    _assert_error(answer, 422, "templates: give one of")


def test_too_many_texts_or_pictures_are_refused(connect: Connect) -> None:
    client = connect(limits=RequestLimits(max_texts=2, max_images=1))
    answer = client.post("/v1/embed/texts", json={"texts": ["a", "b", "c"]})
    _assert_error(answer, 422, "send 2 at most")
    answer = client.post("/v1/embed/images", files=[("images", b"a"), ("images", b"b")])
    _assert_error(answer, 422, "send 1 at most")


def test_work_that_takes_too_long_is_given_up(
    connect: Connect, colour_towers: Any, pictures: dict[str, Path], monkeypatch: Any
) -> None:
    encode, released = colour_towers.encode_text, threading.Event()

    def slowly(tokens: Any) -> Any:
        released.wait(20)
        return encode(tokens)

    monkeypatch.setattr(colour_towers, "encode_text", slowly)
    client = connect(limits=RequestLimits(timeout=0.5))
    _assert_error(_classify(client, pictures["red"].read_bytes()), 504, "0.5 seconds")
    released.set()
    statuses = {_classify(client, pictures["red"].read_bytes()).status_code for _ in range(5)}
    assert 200 in statuses


def test_a_crash_is_json_and_the_server_goes_on(
    client: TestClient, colour_towers: Any, pictures: dict[str, Path], monkeypatch: Any
) -> None:
    def crash(_: Any) -> Any:
        raise RuntimeError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(colour_towers, "encode_image", crash)
        answer = _classify(client, pictures["red"].read_bytes())
        _assert_error(answer, 500, "made a mistake")
        assert "secret" not in answer.text
    assert _classify(client, pictures["red"].read_bytes()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/classify", 405), ("GET", "/nowhere", 404), ("POST", "/healthz", 405)],
)
def test_wrong_paths_and_methods_are_json(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == status
