"""Files at addresses such as ``https://`` or ``s3://``, read by fsspec with retries."""

import errno
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dinotxt.data.readers import expand_braces
from dinotxt.errors import BackendError, DataError, import_extra
from dinotxt.files import atomic_path
from dinotxt.results.skip import OnSkip, Skip

Result = TypeVar("Result")

_CHUNK_BYTES = 1 << 22
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LATER = (408, 425, 429)  # HTTP: timed out, too early, too many


class Remote:
    """Reads whole files and listings from addresses; what fails for a moment is tried again.

    Args:
        retries: How often a failed request is repeated, with pauses that double.
        pause: Seconds before the first repetition.
    """

    def __init__(self, *, retries: int = 5, pause: float = _FIRST_PAUSE) -> None:
        self.retries = retries
        self.pause = pause

    def expand(self, pattern: str, report: OnSkip) -> list[str]:
        """Return the addresses that a pattern with braces and globs means, in order.

        Args:
            pattern: Such as ``s3://bucket/train-{000..099}.tar`` or ``gs://bucket/*.parquet``.
            report: Called for each glob that matches nothing.

        Raises:
            DataError: If nothing matches.
        """
        found: dict[str, None] = {}
        for address in expand_braces(pattern):
            if not any(sign in address for sign in "*["):
                found[address] = None
                continue
            matches = self._retry(address, partial(self._glob, address))
            found.update(dict.fromkeys(matches))
            if not matches:
                report(Skip(address, "matches nothing"))
        if not found:
            raise DataError(f"{pattern} matches nothing.")
        return list(found)

    def read(self, address: str) -> bytes | None:
        """Return a small file whole; None where there is none."""

        def whole() -> bytes:
            content: bytes = _open_filesystem(address).cat_file(_bare(address))
            return content

        try:
            return self._retry(address, whole)
        except DataError:
            return None

    def open(self, address: str) -> Any:
        """Open a file for reading parts of it (fsspec's own buffering)."""
        return self._retry(address, lambda: _open_filesystem(address).open(_bare(address), "rb"))

    def fetch(self, address: str, target: Path) -> None:
        """Copy a file to ``target``, which is whole or absent.

        Raises:
            DataError: If it cannot be had; the message says how to go on.
        """
        self._retry(address, lambda: _copy(address, target))

    def _glob(self, address: str) -> list[str]:
        filesystem = _open_filesystem(address)
        return [str(filesystem.unstrip_protocol(path)) for path in sorted(filesystem.glob(address))]

    def _retry(self, address: str, call: Callable[[], Result]) -> Result:
        pause = self.pause
        for attempt in range(self.retries + 1):
            try:
                return call()
            except FileNotFoundError:
                raise DataError(f"{address} does not exist.") from None
            except (DataError, BackendError):
                raise
            except Exception as error:  # each filesystem of fsspec has errors of its own
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise
                if attempt == self.retries or _is_final(error):
                    raise DataError(
                        f"{address} cannot be read ({type(error).__name__}: {error}), "
                        f"{attempt + 1} times: see to the network or your rights, and run the "
                        "same command."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("the last attempt returns or raises")


def _is_final(error: Exception) -> bool:
    """Tell if a request was refused, so that another one would be too (HTTP 4xx)."""
    status = getattr(error, "status", 0)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _LATER
    return isinstance(error, PermissionError) or refused


def _open_filesystem(address: str) -> Any:
    fsspec = import_extra("fsspec", extra="train")
    protocol = address.partition("://")[0]
    try:
        return fsspec.filesystem(protocol)
    except (ImportError, ValueError) as error:
        raise BackendError(f"{address}: fsspec cannot open {protocol}:// ({error}).") from None


def _bare(address: str) -> str:
    """Return the path as its filesystem names it."""
    return str(_open_filesystem(address)._strip_protocol(address))


def _copy(address: str, target: Path) -> None:
    filesystem = _open_filesystem(address)
    expected = filesystem.info(_bare(address)).get("size")
    with atomic_path(target) as temporary:
        written = 0
        with filesystem.open(_bare(address), "rb") as source, temporary.open("wb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                written += sink.write(chunk)
        if expected is not None and written != expected:
            raise OSError(f"{written} of {expected} bytes came")
