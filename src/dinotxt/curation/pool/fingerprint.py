"""What a source was when it was read, so that a change of it is noticed."""

import hashlib
import os
from pathlib import Path

from dinotxt.files import sha256_file

_WHOLE_BYTES = 64 << 20
_PROBES = 16
_PROBE_BYTES = 64 << 10


def fingerprint(path: Path) -> str:
    """Return a digest of a file or a folder.

    Up to 64 MiB the whole file counts; beyond, its size, its time of change and 16 pieces; of a
    folder, the names, sizes and times of change of all files in it.
    """
    if path.is_dir():
        return _of_folder(path)
    stat = path.stat()
    if stat.st_size <= _WHOLE_BYTES:
        return sha256_file(path)
    digest = hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    with path.open("rb") as stream:
        for probe in range(_PROBES):
            stream.seek(probe * (stat.st_size - _PROBE_BYTES) // (_PROBES - 1))
            digest.update(stream.read(_PROBE_BYTES))
    return digest.hexdigest()


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            stat = path.stat()
            line = f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
