from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from dinotxt.serving.config import ServeConfig

Connect = Callable[..., TestClient]
TEXTS = {"texts": ["red"]}


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer wrong", "Basic secret", "secret", "Bearer secret2", "Bearer \xe9"],
)
def test_without_the_token_nothing_is_answered(connect: Connect, header: str | None) -> None:
    client = connect(token="secret")
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = client.post("/v1/embed/texts", json=TEXTS, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == 401


def test_the_token_opens_the_api(connect: Connect) -> None:
    client = connect(token="secret")
    headers = {"Authorization": "bearer secret"}
    assert client.post("/v1/embed/texts", json=TEXTS, headers=headers).status_code == 200


def test_the_page_and_the_health_need_no_token(connect: Connect) -> None:
    client = connect(token="secret")
    assert client.get("/").status_code == 200
    assert client.get("/healthz").json() == {"status": "ok", "model": "colours"}


def test_a_server_on_loopback_answers_to_no_other_name(connect: Connect) -> None:
    client = connect()
    assert client.get("/v1/info", headers={"Host": "rebound.example"}).status_code == 421
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/v1/info", headers={"Host": host}).status_code == 200


def test_names_can_be_allowed(connect: Connect) -> None:
    client = connect(allowed_hosts=("photos.example",))
    assert client.get("/v1/info", headers={"Host": "photos.example"}).status_code == 200


def test_a_public_server_answers_to_any_name(connect: Connect) -> None:
    client = connect(host="0.0.0.0")
    assert client.get("/v1/info", headers={"Host": "photos.example"}).status_code == 200


def test_other_web_sites_are_not_answered(connect: Connect) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = connect().post("/v1/embed/texts", json=TEXTS, headers=headers)
    assert answer.status_code == 403


def test_the_default_is_loopback() -> None:
    assert ServeConfig().is_loopback
    assert not ServeConfig(host="0.0.0.0").is_loopback
    assert ServeConfig(host="::1").is_loopback
