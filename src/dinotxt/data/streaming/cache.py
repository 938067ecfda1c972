"""Local copies of shards: fetched once for all processes, the longest unused ones removed first.

A copy in use is held by a shared lock on its file, so nobody removes it; the kernel drops the
lock of a process that dies.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dinotxt.data.streaming.parquet import unpack_parquet
from dinotxt.data.streaming.remote import Remote
from dinotxt.errors import DataError
from dinotxt.files import is_address

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class LocalShard:
    """A tar on the local disk that stays there until it is closed.

    Attributes:
        path: The tar.
    """

    path: Path
    _descriptor: int

    def close(self) -> None:
        """Let others remove the copy."""
        os.close(self._descriptor)


class ShardCache:
    """Gives shards as local tars: a local tar as it is, others copied, Parquet files unpacked.

    What lies at an address is taken never to change: a new version needs a new name. A local file
    that has changed is unpacked again.

    Args:
        folder: Where the copies lie; many processes may share it.
        max_bytes: Copies are removed beyond this, unless they are in use.
        remote: Fetches addresses.
    """

    def __init__(self, folder: Path, *, max_bytes: int, remote: Remote) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.remote = remote

    def open(self, shard: str) -> LocalShard:
        """Return a shard as a local tar; close it after use.

        Raises:
            DataError: If it cannot be had.
        """
        if not needs_copy(shard):
            found = _hold(Path(shard))
            if found is None:
                raise _missing(shard)
            return LocalShard(Path(shard), found)
        target = self._target(shard)
        while True:
            found = _hold(target)
            if found is not None:
                os.utime(found)
                return LocalShard(target, found)
            with self._locked(target):
                if not target.exists():
                    self._make(shard, target)
            self._trim(target)

    def local_path(self, shard: str) -> Path:
        """Return the path of a shard's local copy, made if need be; nothing holds it there."""
        local = self.open(shard)
        local.close()
        return local.path

    def _target(self, shard: str) -> Path:
        digest = hashlib.sha256(version(shard).encode()).hexdigest()[:_DIGITS]
        stem = PurePosixPath(shard).stem
        return self.folder / digest / f"{stem}.tar"

    def _make(self, shard: str, target: Path) -> None:
        try:
            if not shard.endswith(".parquet"):
                self.remote.fetch(shard, target)
            elif not is_address(shard):
                unpack_parquet(Path(shard), target)
            else:
                source = target.with_suffix(".parquet")
                self.remote.fetch(shard, source)
                try:
                    unpack_parquet(source, target)
                finally:
                    source.unlink()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DataError(
                f"{self.folder} is full: free space, move it with data.stream.cache or lower "
                "data.stream.cache_gib."
            ) from error

    @contextmanager
    def _locked(self, target: Path) -> Iterator[None]:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target.parent / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _trim(self, newest: Path) -> None:
        """Remove the longest unused copies while all of them take more than the limit."""
        copies = []
        for path in self.folder.glob("*/*.tar"):
            try:
                copies.append((path.stat(), path))
            except FileNotFoundError:
                continue  # another process was faster
        total = sum(status.st_size for status, _ in copies)
        for status, path in sorted(copies, key=lambda copy: copy[0].st_mtime_ns):
            if total <= self.max_bytes:
                return
            if path != newest and _remove(path):
                total -= status.st_size


def version(shard: str) -> str:
    """Return the name of a shard with what tells a changed local file from the old one.

    Raises:
        DataError: If the file is missing.
    """
    if is_address(shard):
        return shard
    try:
        status = Path(shard).stat()
    except FileNotFoundError:
        raise _missing(shard) from None
    return f"{shard} {status.st_size} {status.st_mtime_ns}"


def needs_copy(shard: str) -> bool:
    """Tell if a shard is read from a copy: it is far away, or no tar."""
    return is_address(shard) or shard.endswith(".parquet")


def _missing(shard: str) -> DataError:
    return DataError(f"{shard} does not exist any more: put it back.")


def _hold(path: Path) -> int | None:
    """Open a copy with a shared lock; None where it is missing or was just removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None


def _remove(path: Path) -> bool:
    """Remove a copy that nobody holds."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
