"""The index of an uncompressed tar: one pass over its headers, no member read.

GNU long names, PAX headers and sizes beyond 8 GiB are understood (POSIX.1-2001, GNU tar manual).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dinotxt.errors import DataError
from dinotxt.results.skip import OnSkip, Skip

_BLOCK = 512
_MAX_HEADER = 1 << 20
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file in a tar: its name, where its bytes start and how many they are."""

    name: str
    offset: int
    size: int


class _TornError(Exception):
    """The tar cannot be read beyond a byte."""


def scan_tar(path: str | Path, report: OnSkip) -> list[TarMember]:
    """List the regular files of a tar.

    A tar that is cut or damaged gives what stands before the tear; ``report`` hears the byte.

    Args:
        path: The tar.
        report: Called for a tear and for a name that is not UTF-8.

    Raises:
        DataError: If the file cannot be opened, or is compressed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}).") from None
    try:
        return _Scan(str(path), descriptor, report).run()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from None
    finally:
        os.close(descriptor)


class _Scan:
    """One pass over the headers of an open tar."""

    def __init__(self, path: str, descriptor: int, report: OnSkip) -> None:
        self._path = path
        self._descriptor = descriptor
        self._report = report
        self._end = os.fstat(descriptor).st_size
        self._position = 0
        self._overrides: dict[str, bytes] = {}

    def run(self) -> list[TarMember]:
        members: list[TarMember] = []
        if os.pread(self._descriptor, 6, 0).startswith(_COMPRESSED):
            raise DataError(f"{self._path} is compressed: unpack it to a plain .tar first.")
        start = 0
        try:
            while True:
                start = self._position
                header = os.pread(self._descriptor, _BLOCK, start)
                if header.count(0) == _BLOCK:
                    return members
                member = self._member(header)
                if member is not None:
                    members.append(member)
        except _TornError as error:
            reason = f"torn at byte {start} ({error}); what stands before it is used"
            self._report(Skip(self._path, reason))
        return members

    def _member(self, header: bytes) -> TarMember | None:
        size = self._check(header)
        kind = header[156:157]
        offset = self._position + _BLOCK
        if kind in b"LKxg":
            self._extended(kind, offset, size)
            return None
        size = int(self._overrides.get("size", size))
        if kind in b"0\x007" and offset + size > self._end:
            raise _TornError(f"the file ends at {self._end} and its member at {offset + size}")
        overrides, self._overrides = self._overrides, {}
        self._position = offset + (-(-size // _BLOCK) * _BLOCK if kind not in b"123456" else 0)
        if kind not in b"0\x007":
            return None
        raw = overrides.get("path") or _header_name(header)
        try:
            return TarMember(raw.decode("utf-8"), offset, size)
        except UnicodeDecodeError:
            self._report(Skip(f"{self._path}::{raw!r}", "its name is not UTF-8"))
            return None

    def _check(self, header: bytes) -> int:
        """Verify the checksum of a header and return the size that it states."""
        if len(header) < _BLOCK:
            raise _TornError("no end-of-archive mark" if not header else "a header is cut short")
        try:
            stated = int(header[148:156].strip(b"\0 ") or b"0", 8)
            size = _number(header[124:136])
        except ValueError:
            raise _TornError("a header is damaged") from None
        if sum(header) - sum(header[148:156]) + 8 * 32 != stated:
            raise _TornError("a header has a wrong checksum")
        return size

    def _extended(self, kind: bytes, offset: int, size: int) -> None:
        """Read a header that names or sizes the member after it."""
        if size > _MAX_HEADER or offset + size > self._end:
            raise _TornError("an extended header is cut short or too long")
        content = os.pread(self._descriptor, size, offset)
        self._position = offset + -(-size // _BLOCK) * _BLOCK
        if kind == b"L":
            self._overrides["path"] = content.rstrip(b"\0")
        elif kind == b"x":
            self._overrides.update(_pax_records(content))


def _header_name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes) -> int:
    """Read a size: octal digits, or base 256 where the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b"\0 ") or b"0", 8)


def _pax_records(content: bytes) -> dict[str, bytes]:
    """Return the ``path`` and ``size`` of PAX records ``LENGTH KEY=VALUE`` and a newline."""
    found: dict[str, bytes] = {}
    while content:
        digits, _, _ = content.partition(b" ")
        if not digits.isdigit() or not len(digits) < int(digits) <= len(content):
            raise _TornError("an extended header is damaged")
        key, _, value = content[len(digits) + 1 : int(digits) - 1].partition(b"=")
        if key in (b"path", b"size"):
            if key == b"size" and not value.isdigit():
                raise _TornError("an extended header is damaged")
            found[key.decode()] = value
        content = content[int(digits) :]
    return found
