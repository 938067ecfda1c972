"""Files that are either whole or absent, in folders that are ours and have one writer."""

import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dinotxt.errors import DataError

MARK = ".dinotxt"
_CHUNK_BYTES = 1 << 20
_SAMPLES, _SAMPLE_BYTES = 16, 64 << 10
_WRITTEN_BY = "dinotxt "
_FILE_NAME = re.compile(r'[^/\\:*?"<>|\x00-\x1f]{1,255}')  # of any system
_SURROGATE = re.compile("[\ud800-\udfff]")  # a byte of a name that is not UTF-8
_LOCK, _HOLDER = ".lock", ".lock.json"
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")  # the names that ``atomic_path`` gives


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` that replaces it only when the block succeeds.

    The data are synced to the disk before the rename, so after a crash or on a full disk the
    old file is still there, whole.

    Args:
        path: The file to write. Its folder is made where it is missing.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def one_writer(folder: str | Path, verb: str) -> Iterator[None]:
    """Hold a folder for writing during the block; a second writer is refused and told by whom.

    The lock is one of the operating system on ``.lock`` in the folder: it is free again when the
    process ends, however it ends, and processes forked from it do not keep it. The file stays.
    The folder gets the mark of a verb, see ``mark_folder``.
    Take it before the first look at what the folder holds, and write nothing there without it::

        check_own_folder(output, "run.json")
        with one_writer(output, "train"):
            ...

    Args:
        folder: Made where it is missing.
        verb: What writes, as the second one should be told: ``train``, ``index``.

    Raises:
        DataError: If another process, or this one, holds the folder.
        OSError: If nothing can be written there.
    """
    from filelock import FileLock, Timeout

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        message = f"{folder} is being written by {_holder(target)}: wait until it has ended."
        raise DataError(message) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        own = {"verb": verb, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_json(target / _HOLDER, own)
        mark_folder(target, verb)
        yield
    finally:
        (target / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    """Return in words who holds a folder."""
    try:
        known = read_json(folder / _HOLDER)
        return "`dinotxt {verb}` (process {pid} on {host}, since {since})".format_map(known)
    except (DataError, KeyError, TypeError):  # it holds the lock and has not said so yet
        return "another process"


def check_own_folder(folder: str | Path, marker: str) -> None:
    """Refuse to write into a folder that holds what others put there.

    Args:
        folder: May be missing or empty; what a killed ``atomic_path`` left there does not count.
        marker: The file that every folder of this kind has, such as ``manifest.json``; what
            it says is for the caller to check.

    Raises:
        DataError: If there is something and no marker; the message names one of the files.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise DataError(f"{folder} is a file: give a folder.")
    if not target.exists() or (target / marker).is_file():
        return
    names = sorted(path.name for path in target.iterdir())
    own = {_LOCK, _HOLDER, MARK}
    others = [n for n in names if n not in own and not _UNFINISHED.fullmatch(n)]
    if others:
        raise DataError(f"{folder} holds other files ({others[0]}): give an empty or a new folder.")


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed ``atomic_path`` left directly in a folder of our own."""
    for path in folder.iterdir():
        if _UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_text(content: Any, *, allow_nan: bool = True) -> str:
    """Return indented JSON, which UTF-8 can hold whatever bytes the names of files have."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    if _SURROGATE.search(text) is None:
        return text
    return json.dumps(content, indent=2, allow_nan=allow_nan) + "\n"


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json_text(content), "utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not readable JSON ({error}): delete or restore it.") from error


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """What says in a folder that dinotxt wrote it, or some of its files.

    Attributes:
        folder: The folder.
        kind: The verb that wrote.
        names: Of the files that it wrote beside others; empty: all of the folder is its own.
    """

    folder: Path
    kind: str
    names: frozenset[str] = frozenset()


def read_mark(folder: Path) -> Mark | None:
    """Return the mark of a folder, or None where there is none that can be read."""
    try:
        first, *lines = (folder / MARK).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if not first.startswith(_WRITTEN_BY):
        return None
    names = set()
    for line in lines:
        with suppress(ValueError):  # the last line of a process that was killed
            names.add(str(json.loads(line)))
    return Mark(folder, first.removeprefix(_WRITTEN_BY), frozenset(names))


def mark_folder(folder: Path, kind: str) -> None:
    """Say that all in a folder is what the verb ``kind`` writes, none of it a picture to read."""
    if read_mark(folder) is None:
        with atomic_path(folder / MARK) as temporary:
            temporary.write_text(f"{_WRITTEN_BY}{kind}\n", "utf-8")


class Results:
    """Files that a verb writes beside others: each is listed in its folder before it is written.

    Args:
        kind: The verb.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._listed: dict[Path, set[str]] = {}

    def add(self, path: Path) -> None:
        """List a file that is to be written."""
        mark = None if path.parent in self._listed else read_mark(path.parent)
        if mark is not None and not mark.names:
            return  # all of the folder is marked
        listed = self._listed.setdefault(path.parent, set(mark.names if mark else ()))
        if path.name in listed:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / MARK).open("a", encoding="utf-8") as stream:
            head = "" if listed else f"{_WRITTEN_BY}{self._kind}\n"
            stream.write(f"{head}{json.dumps(path.name)}\n")
        listed.add(path.name)


def is_address(path: str) -> bool:
    """Tell if a path is an address such as ``https://`` or ``s3://`` rather than a local file."""
    return "://" in path


def refuse_address(path: str) -> None:
    """Refuse an address on the web.

    Raises:
        DataError: If it is one.
    """
    if is_address(path):
        raise DataError(f"{path} is a web address, which is not fetched: download it first.")


def read_lines(path: str | Path) -> tuple[str, ...]:
    """Return the lines of a text file without blanks around them, blank ones at its end left out.

    Raises:
        DataError: If it cannot be read as UTF-8.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
    return tuple(line.strip() for line in text.rstrip().splitlines())


def is_file_name(name: str) -> bool:
    """Tell if a text that a configuration holds is the name of a file and no path to one."""
    return bool(_FILE_NAME.fullmatch(name)) and name not in {".", ".."}


def sampled_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's size and of 16 pieces of it, of a small file all of it.

    A look at a large file that takes no time; ``sha256_file`` is the whole check.
    """
    with Path(path).open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        digest = hashlib.sha256(f"{size} ".encode())
        last = max(size - _SAMPLE_BYTES, 0)
        for start in sorted({number * last // (_SAMPLES - 1) for number in range(_SAMPLES)}):
            stream.seek(start)
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def cache_dir() -> Path:
    """Return the folder for downloads and cached embeddings (``DINOTXT_CACHE`` moves it)."""
    return Path(os.environ.get("DINOTXT_CACHE") or Path.home() / ".cache" / "dinotxt")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
