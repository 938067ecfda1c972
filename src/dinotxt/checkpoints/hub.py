"""Weights from a path, a URL or the Hugging Face hub, with a hash check whenever one is known.

Hexadecimal digits at the end of a file's name are the start of its SHA-256 and are checked. Where
no hash is published, the first download records one beside the file, and a later change is refused.
"""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from os import environ
from pathlib import Path
from typing import Any

import huggingface_hub

from dinotxt.checkpoints.snapshot import PREFIX
from dinotxt.errors import CheckpointError
from dinotxt.files import atomic_path, cache_dir, read_json, sha256_file, write_json

Progress = Callable[[int, int], None]

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
    """Return where the download of a URL is kept, whether it is there or not."""
    parts = urllib.parse.urlsplit(url)
    return cache_dir() / "weights" / parts.netloc.replace(":", "_") / parts.path.lstrip("/")


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
        _download(url, path, sha256, progress)
    _checked(path, sha256)
    actual = file_hash(path)
    if not record.is_file():
        write_json(record, {"url": url, "sha256": actual})
    known = read_json(record)["sha256"]
    if actual != known:
        message = (
            f"{path} has the SHA-256 {actual}, but its first download had {known}: the file has"
            f" changed. Delete {path} to get it again, and {record} too if the change is right."
        )
        raise CheckpointError(message)
    return path


def _download(url: str, path: Path, sha256: str | None, progress: Progress | None) -> None:
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
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
    except (OSError, http.client.HTTPException) as error:
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
    if not filename:
        raise CheckpointError(f"{source}: write hf://OWNER/NAME/FILE.")
    try:
        path = huggingface_hub.hf_hub_download(
            f"{owner}/{name}", filename, endpoint=environ.get("HF_ENDPOINT")
        )
    except (OSError, ValueError) as error:
        message = (
            f"{source} cannot be downloaded ({str(error).splitlines()[0]}). Get {filename} on a"
            " machine with a network and put it into a folder that DINOTXT_WEIGHTS names."
        )
        raise CheckpointError(message) from None
    return Path(path)
