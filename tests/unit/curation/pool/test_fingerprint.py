"""Fingerprints notice changes."""

import os
from pathlib import Path

import pytest

from dinotxt.curation.pool import sources as module
from dinotxt.curation.pool.sources import fingerprint


def test_a_small_file_is_known_by_its_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = fingerprint(path)
    os.utime(path, (1, 1))
    assert fingerprint(path) == before
    path.write_bytes(b"two")
    assert fingerprint(path) != before


def test_a_large_file_is_known_by_size_time_and_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WHOLE_BYTES", 10)
    monkeypatch.setattr("dinotxt.files._SAMPLE_BYTES", 4)
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    os.utime(path, (1, 1))
    before = fingerprint(path)
    path.write_bytes(bytes(99) + b"1")
    os.utime(path, (1, 1))
    assert fingerprint(path) != before
    path.write_bytes(bytes(100))
    os.utime(path, (1, 1))
    assert fingerprint(path) == before
    os.utime(path, (2, 2))
    assert fingerprint(path) != before


def test_a_folder_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "b.txt").write_text("b")
    assert fingerprint(tmp_path) != before
