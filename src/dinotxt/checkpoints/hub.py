"""Files by path, URL or name on the Hugging Face hub; model folders from there and to it.

No torch here.

Hexadecimal digits at the end of a file's name are the start of its SHA-256 and are checked. Where
no hash is published, the first download records one beside the file, and a later change is refused.
"""

import hashlib
import re
import urllib.parse
from functools import lru_cache
from os import environ
from pathlib import Path
from typing import Any

from dinotxt.errors import CheckpointError
from dinotxt.files import atomic_path, cache_dir, is_file_name, read_json, sha256_file, write_json
from dinotxt.results.skip import Progress

PREFIX = "hf://"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60


def fetch(
    source: str | Path, *, sha256: str | None = None, progress: Progress | None = None
) -> Path:
    """Return a local file for a path, an http(s) URL or ``hf://OWNER/NAME/FILE``.

    A file of the same name in the folder ``DINOTXT_WEIGHTS`` is taken before any download.

    Args:
        source: Where the file is.
        sha256: The hash it must have, if the caller knows it.
        progress: Called with the bytes that have come and their total (0: unknown).

    Raises:
        CheckpointError: If the file is missing, cannot be downloaded or has another hash.
    """
    text = str(source)
    if not text.startswith(("http://", "https://", PREFIX)):
        path = Path(text).expanduser()
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist: give a file or a URL.")
        return _checked(path, sha256)
    provided = _provided(text)
    if provided is not None:
        return _checked(provided, sha256)
    if text.startswith(PREFIX):
        return _checked(_from_hub(text), sha256)
    return _from_url(text, sha256, progress)


def cached_path(url: str) -> Path:
    """Return where the download of a URL is kept, whether it is there or not.

    The folder's name is a hash of the whole address, so no address leads out of the cache.
    """
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    folder = hashlib.sha256(url.encode()).hexdigest()[:24]
    return cache_dir() / "weights" / folder / (name if is_file_name(name) else "file")


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file; an unchanged file is read once."""
    status = Path(path).stat()
    return _file_hash(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_hash(path: str, _size: int, _modified: int) -> str:
    return sha256_file(path)


def _provided(url: str) -> Path | None:
    folder = environ.get("DINOTXT_WEIGHTS")
    path = Path(folder or ".") / url.rpartition("/")[2]
    return path if folder and path.is_file() else None


def _checked(path: Path, sha256: str | None) -> Path:
    expected = _missed_hash(path, path.name, sha256)
    if expected is not None:
        message = (
            f"{path} has the SHA-256 {file_hash(path)}, but {expected} is expected: it is damaged"
            " or another file; delete it and get it again."
        )
        raise CheckpointError(message)
    return path


def _missed_hash(path: Path, name: str, sha256: str | None) -> str | None:
    """Return which hash, the caller's or the digits in a name, is not a file's; None: it fits."""
    in_name = _HASH_IN_NAME.search(name)
    for expected in (sha256, in_name and in_name[1]):
        if expected and not file_hash(path).startswith(expected.lower()):
            return expected
    return None


def _from_url(url: str, sha256: str | None, progress: Progress | None) -> Path:
    path = cached_path(url)
    record = path.with_name(path.name + ".sha256.json")
    if not path.is_file():
        _download(url, path, record, sha256, progress)
    _checked(path, sha256)
    if not record.is_file():
        write_json(record, {"url": url, "sha256": file_hash(path)})
    _check_unchanged(path, path, record)
    return path


def _check_unchanged(path: Path, place: Path, record: Path) -> None:
    """Hold a file, or a download that should become ``place``, against the first download."""
    if not record.is_file():
        return
    actual, known = file_hash(path), read_json(record)["sha256"]
    if actual != known:
        message = (
            f"{place} has the SHA-256 {actual}, but its first download had {known}: the file has"
            f" changed. Delete {place} to get it again, and {record} too if the change is right."
        )
        raise CheckpointError(message)


def _download(
    url: str, path: Path, record: Path, sha256: str | None, progress: Progress | None
) -> None:
    from http.client import HTTPException  # with sockets and mail: for downloads alone
    from urllib.request import urlopen

    try:
        with (
            urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
            atomic_path(path) as temporary,
        ):
            _copy(response, temporary, progress)
            expected = _missed_hash(temporary, path.name, sha256)
            if expected is not None:  # it never takes its place in the cache
                message = (
                    f"The download of {path.name} has the SHA-256 {file_hash(temporary)}, but"
                    f" {expected} is expected: it was damaged on the way or replaced; try again or"
                    " ask where it comes from."
                )
                raise CheckpointError(message)
            _check_unchanged(temporary, path, record)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        message = (
            f"{url} cannot be downloaded ({reason}). Get the file on a machine with a network and"
            f" put it at {path}, or into a folder that DINOTXT_WEIGHTS names."
        )
        raise CheckpointError(message) from None


def _copy(response: Any, path: Path, progress: Progress | None) -> None:
    total = int(response.headers.get("Content-Length") or 0)
    done = 0
    with path.open("wb") as stream:
        while chunk := response.read(_CHUNK_BYTES):
            stream.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total and done != total:
        raise OSError(f"the connection broke after {done} of {total} bytes")


def _from_hub(source: str) -> Path:
    owner, _, rest = source.removeprefix(PREFIX).partition("/")
    name, _, filename = rest.partition("/")
    parts = (owner, name, *filename.split("/"))
    if not all(map(is_file_name, parts)):
        raise CheckpointError(f"{source}: write hf://OWNER/NAME/FILE.")
    import huggingface_hub as hub

    try:
        path = hub.hf_hub_download(f"{owner}/{name}", filename, endpoint=environ.get("HF_ENDPOINT"))
    except (OSError, ValueError) as error:
        message = (
            f"{source} cannot be downloaded ({str(error).splitlines()[0]}). Get {filename} on a"
            " machine with a network and put it into a folder that DINOTXT_WEIGHTS names."
        )
        raise CheckpointError(message) from None
    return Path(path)


def is_hub_name(name: str) -> bool:
    """Tell if a model's name is ``hf://OWNER/NAME``, perhaps with ``@REVISION``."""
    return name.startswith(PREFIX)


def snapshot(name: str) -> Path:
    """Return the local folder of ``hf://OWNER/NAME[@REVISION]``, downloaded if need be.

    ``HF_ENDPOINT`` names another hub. What was downloaded once is used where there is no network.

    Raises:
        BackendError: If huggingface_hub is not installed.
        CheckpointError: If the repository or the network is not there.
    """
    repo_id, _, revision = name.removeprefix(PREFIX).partition("@")
    _check_repo_id(repo_id)
    import huggingface_hub as hub

    api = hub.HfApi(endpoint=environ.get("HF_ENDPOINT"))
    try:
        folder = Path(api.snapshot_download(repo_id, revision=revision or None))
    except (OSError, ValueError) as error:
        message = (
            f"{name} cannot be downloaded ({_first_line(error)}). Check the name and log in with"
            " `hf auth login` if it is private; or get the folder on a machine with a network and"
            " give its path."
        )
        raise CheckpointError(message) from None
    return folder


def upload(folder: Path, repo_id: str, *, private: bool, message: str) -> str:
    """Make a model repository where it is missing and put a folder's files into it.

    Args:
        folder: A model folder or an export folder.
        repo_id: ``OWNER/NAME``.
        private: Whether a new repository is private.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        BackendError: If huggingface_hub is not installed.
        CheckpointError: If the hub refuses or cannot be reached.
    """
    _check_repo_id(repo_id)
    import huggingface_hub as hub

    api = hub.HfApi(endpoint=environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except (OSError, ValueError) as error:
        reason = f"{folder} cannot be sent to {repo_id} ({_first_line(error)})"
        fix = "log in with `hf auth login`, with a token that may write"
        raise CheckpointError(f"{reason}: {fix}.") from None
    return str(commit.commit_url)


def _check_repo_id(repo_id: str) -> None:
    if not _REPO_ID.fullmatch(repo_id):
        raise CheckpointError(f"{repo_id!r} is no model of the hub: write OWNER/NAME.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
