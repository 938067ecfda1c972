import re

import pytest
from fastapi.testclient import TestClient

from dinotxt.serving.observe import SECURITY_HEADERS


def test_the_page_loads_only_what_the_package_ships(client: TestClient) -> None:
    page = client.get("/").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"/static/app.js", "/static/style.css"} <= set(addresses)
    assert all(address.startswith("/") for address in addresses)
    for address in addresses:
        assert client.get(address).status_code == 200


def test_scripts_and_styles_are_in_files_only(client: TestClient) -> None:
    page = client.get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", page)
    assert "script-src 'self'" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/v1/info", "/nowhere"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


@pytest.mark.parametrize(
    "name",
    ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "nothing.js", "", "style.css/.."],
)
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/static/{name}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_a_file_that_did_not_change_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/static/app.js").headers["etag"]
    answer = client.get("/static/app.js", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")


def test_the_metrics_have_one_series_for_all_unknown_paths(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/nowhere/{number}")
    counts = client.get("/metrics").text
    assert 'dinotxt_requests_total{method="GET",route="other",status="404"} 5.0' in counts
    assert "nowhere" not in counts


def test_the_description_has_an_example_for_every_answer(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    posts = [path for path, item in description["paths"].items() if "post" in item]
    assert posts == [
        "/v1/classify",
        "/v1/segment",
        "/v1/embed/images",
        "/v1/embed/texts",
        "/v1/search",
    ]
    for name, schema in description["components"]["schemas"].items():
        if not name.endswith("Answer") or name == "ErrorAnswer":
            continue
        for field, content in schema["properties"].items():
            assert {"examples", "const", "items", "anyOf", "$ref"} & set(content), (name, field)
