import hashlib
from pathlib import Path

import pytest
from tests.unit.checkpoints.conftest import Site

from dinotxt.checkpoints.hub import cached_path, fetch
from dinotxt.errors import CheckpointError

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


def test_a_local_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(CONTENT)
    assert fetch(path) == path
    assert fetch(path, sha256=DIGEST.upper()) == path


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        fetch(tmp_path / "a.pth")


@pytest.mark.parametrize("digits", [8, 12, 64])
def test_hex_digits_in_a_files_name_are_checked(tmp_path: Path, digits: int) -> None:
    right = tmp_path / f"head-{DIGEST[:digits]}.pth"
    wrong = tmp_path / f"head-{OTHER[:digits]}.pth"
    for path in (right, wrong):
        path.write_bytes(CONTENT)
    assert fetch(right) == right
    with pytest.raises(CheckpointError, match=f"{OTHER[:digits]} is expected"):
        fetch(wrong)


def test_the_users_hash_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match=DIGEST):
        fetch(path, sha256=OTHER)


def test_a_url_is_downloaded_once_with_progress(site: Site) -> None:
    site.files["/meta/a.pth"] = CONTENT
    seen: list[tuple[int, int]] = []
    path = fetch(f"{site.url}/meta/a.pth", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(f"{site.url}/meta/a.pth") == path
    assert site.requests == ["/meta/a.pth"]


def test_a_change_after_the_first_download_is_refused(site: Site) -> None:
    url = f"{site.url}/a.pth"
    site.files["/a.pth"] = CONTENT
    path = fetch(url)
    path.write_bytes(CONTENT + b"tampered")
    with pytest.raises(CheckpointError, match="has changed"):
        fetch(url)
    path.unlink()
    site.files["/a.pth"] = b"another file on the server"
    with pytest.raises(CheckpointError, match=f"first download had {DIGEST}"):
        fetch(url)


def test_a_download_with_a_wrong_hash_never_reaches_the_cache(site: Site) -> None:
    url = f"{site.url}/head-{OTHER[:8]}.pth"
    site.files[f"/head-{OTHER[:8]}.pth"] = CONTENT
    with pytest.raises(CheckpointError, match="is expected"):
        fetch(url)
    site.files["/b.pth"] = CONTENT
    with pytest.raises(CheckpointError, match="is expected"):
        fetch(f"{site.url}/b.pth", sha256=OTHER)
    assert [path for path in cached_path(url).parent.iterdir() if path.is_file()] == []


def test_a_broken_connection_leaves_nothing_and_the_next_try_works(site: Site) -> None:
    url = f"{site.url}/a.pth"
    site.files["/a.pth"], site.cut = CONTENT, 100
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        fetch(url)
    assert not cached_path(url).exists()
    site.cut = None
    assert fetch(url, sha256=DIGEST).read_bytes() == CONTENT


def test_without_a_network_the_error_says_where_to_put_the_file(site: Site) -> None:
    for url in (f"{site.url}/missing.pth", "http://127.0.0.1:9/closed.pth"):
        with pytest.raises(CheckpointError) as caught:
            fetch(url)
        assert str(cached_path(url)) in str(caught.value)
        assert "DINOTXT_WEIGHTS" in str(caught.value)


def test_a_file_in_the_weights_folder_is_taken_before_any_download(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pth").write_bytes(CONTENT)
    monkeypatch.setenv("DINOTXT_WEIGHTS", str(tmp_path))
    assert fetch(f"{site.url}/far/away/a.pth") == tmp_path / "a.pth"
    assert site.requests == []


def test_files_of_one_name_from_two_places_are_kept_apart(site: Site) -> None:
    site.files |= {"/one/a.pth": b"1", "/two/a.pth": b"2"}
    paths = [fetch(f"{site.url}/{folder}/a.pth") for folder in ("one", "two")]
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]


def test_the_hugging_face_hub_is_reached_through_its_library(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/me/model/resolve/main/sub/head.bin"] = CONTENT
    site.headers = {"ETag": f'"{DIGEST}"', "X-Repo-Commit": "1" * 40}
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    path = fetch("hf://me/model/sub/head.bin", sha256=DIGEST)
    assert path.read_bytes() == CONTENT
    with pytest.raises(CheckpointError, match="hf://OWNER/NAME/FILE"):
        fetch("hf://me/model")


def test_an_unreachable_hub_is_an_error_that_names_the_fix(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="DINOTXT_WEIGHTS"):
        fetch("hf://me/missing/head.bin")
