import base64
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from dinotxt.errors import BackendError
from dinotxt.inference.encoder import Encoder
from dinotxt.search.index import ImageIndex
from dinotxt.serving.errors import ApiError
from dinotxt.serving.pictures import PictureLinks


@pytest.fixture
def searcher(connect: Callable[..., TestClient], index: ImageIndex) -> TestClient:
    return connect(index=index)


def test_words_find_the_picture_that_shows_them(searcher: TestClient) -> None:
    hits = searcher.post("/v1/search", data={"text": "blue", "k": 2}).json()["hits"]
    assert [hit["path"] for hit in hits] == ["blue.png", "half.png"]
    assert hits[0]["score"] == pytest.approx(1)


def test_a_picture_finds_itself(searcher: TestClient, pictures: dict[str, Path]) -> None:
    files = {"image": pictures["half"].read_bytes()}
    hits = searcher.post("/v1/search", files=files, data={"k": 1}).json()["hits"]
    assert hits[0]["path"] == "half.png"


def test_a_hit_has_a_small_copy(searcher: TestClient) -> None:
    hit = searcher.post("/v1/search", data={"text": "green", "k": 1}).json()["hits"][0]
    answer = searcher.get(hit["picture"], params={"side": 24})
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (24, 20)


def test_a_picture_that_was_deleted_is_not_found(
    searcher: TestClient, pictures: dict[str, Path]
) -> None:
    hit = searcher.post("/v1/search", data={"text": "green", "k": 1}).json()["hits"][0]
    pictures["green"].unlink()
    answer = searcher.get(hit["picture"])
    assert answer.status_code == 404
    assert str(pictures["green"].parent) not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "AAAA",
        "%00",
        "....//etc/passwd",
        base64.urlsafe_b64encode(bytes(16) + b"/etc/passwd").decode(),
        "\u00e9",
    ],
)
def test_no_other_file_can_be_named(searcher: TestClient, name: str) -> None:
    answer = searcher.get(f"/v1/pictures/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_name_of_another_server_is_worthless() -> None:
    with pytest.raises(ApiError, match="no such picture"):
        PictureLinks().path(PictureLinks().sign("/etc/passwd"))


def test_a_name_stands_for_its_path_whatever_its_bytes() -> None:
    links = PictureLinks()
    path = b"album/\xff<b>.jpg".decode("utf-8", "surrogateescape")
    assert links.path(links.sign(path)) == Path(path)


def test_a_name_does_not_tell_where_the_pictures_lie() -> None:
    name = PictureLinks().sign("/home/someone/private/cat.jpg")
    content = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))
    assert b"someone" not in content
    assert b"cat" not in content


@pytest.mark.parametrize(
    "data", [{}, {"text": "  "}, {"text": "a", "k": 0}, {"text": "a", "k": 10_000}]
)
def test_a_search_for_nothing_or_too_much_is_refused(
    searcher: TestClient, data: dict[str, object]
) -> None:
    assert searcher.post("/v1/search", data=data).status_code == 422


def test_a_server_without_an_index_says_how_to_get_one(client: TestClient) -> None:
    answer = client.post("/v1/search", data={"text": "red"})
    assert answer.status_code == 404
    assert "--index" in answer.json()["error"]["message"]
    assert "index" not in client.get("/v1/info").json()


def test_a_folder_and_dates_filter(searcher: TestClient) -> None:
    ask = {"text": "red", "k": 9}
    assert searcher.post("/v1/search", data={**ask, "until": "1999"}).json()["hits"] == []
    assert len(searcher.post("/v1/search", data={**ask, "since": "1999"}).json()["hits"]) == 4
    assert len(searcher.post("/v1/search", data={**ask, "folder": "."}).json()["hits"]) == 4


@pytest.mark.parametrize(
    "field",
    [
        {"folder": "/etc"},
        {"folder": "../.."},
        {"folder": "elsewhere"},
        {"folder": "\ud800"},
        {"since": "soon"},
        {"since": "2024", "until": "2023"},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_in_words(
    searcher: TestClient, pictures: dict[str, Path], field: dict[str, str]
) -> None:
    content = urlencode({"text": "red", **field}, errors="surrogatepass")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = searcher.post("/v1/search", content=content, headers=headers)
    assert answer.status_code == 422
    assert str(pictures["red"].parent) not in answer.text


def test_a_database_that_fails_is_503_and_says_nothing_of_itself(
    connect: Callable[..., TestClient], index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BackendError("The database at db.internal refuses")

    monkeypatch.setattr(index, "search_vectors", fail)
    answer = connect(index=index).post("/v1/search", data={"text": "red"})
    assert answer.status_code == 503
    assert "db.internal" not in answer.text


def test_the_page_is_told_how_the_index_is_searched(searcher: TestClient) -> None:
    index = searcher.get("/v1/info").json()["index"]
    assert index == {"name": "album.index", "num_pictures": 4, "engine": "exact"}


def test_an_updated_index_is_searched_without_a_restart(
    searcher: TestClient, index: ImageIndex, colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    pictures["red"].unlink()
    Image.new("RGB", (9, 9), (255, 0, 0)).save(pictures["red"].with_name("new.png"))
    ImageIndex.build(colour_encoder, index.root, index.path, num_workers=1)
    hits = searcher.post("/v1/search", data={"text": "red", "k": 1}).json()["hits"]
    assert [hit["path"] for hit in hits] == ["new.png"]


def test_an_index_that_is_removed_goes_on_answering(
    searcher: TestClient, index: ImageIndex
) -> None:
    shutil.rmtree(index.path)
    assert searcher.post("/v1/search", data={"text": "red"}).status_code == 200
