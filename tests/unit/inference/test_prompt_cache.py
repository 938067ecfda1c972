import os
from pathlib import Path

import numpy as np
import pytest

from dinotxt.files import cache_dir
from dinotxt.inference import prompt_cache
from dinotxt.inference.prompt_cache import cache_key, read_embeddings, write_embeddings

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def _file(key: str) -> Path:
    return cache_dir() / "labels" / f"{key}.npy"


def test_what_is_written_is_read_back() -> None:
    key = cache_key("model", ["cat", "dog"], ["a {}"])
    assert read_embeddings(key, (2, 3)) is None
    write_embeddings(key, VALUES)
    kept = read_embeddings(key, (2, 3))
    assert kept is not None
    assert np.array_equal(kept, VALUES)


def test_the_key_depends_on_model_labels_and_templates() -> None:
    keys = {
        cache_key("model", ["cat"], ["a {}"]),
        cache_key("other", ["cat"], ["a {}"]),
        cache_key("model", ["dog"], ["a {}"]),
        cache_key("model", ["cat"], ["the {}"]),
        cache_key("model", ["cat", "a {}"], []),
        cache_key("model", ["\udcff"], ["a {}"]),
    }
    assert len(keys) == 6


@pytest.mark.parametrize("damage", [b"", b"not numpy", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_counts_as_absent_and_is_written_again(damage: bytes) -> None:
    key = cache_key("model", ["cat"], ["a {}"])
    write_embeddings(key, VALUES)
    _file(key).write_bytes(damage)
    assert read_embeddings(key, (2, 3)) is None
    write_embeddings(key, VALUES)
    assert read_embeddings(key, (2, 3)) is not None


def test_wrong_shapes_and_nan_count_as_absent() -> None:
    key = cache_key("model", ["cat"], ["a {}"])
    write_embeddings(key, VALUES)
    assert read_embeddings(key, (3, 2)) is None
    write_embeddings(key, VALUES * np.float32("nan"))
    assert read_embeddings(key, (2, 3)) is None


def test_a_truncated_file_counts_as_absent() -> None:
    key = cache_key("model", ["cat"], ["a {}"])
    write_embeddings(key, VALUES)
    _file(key).write_bytes(_file(key).read_bytes()[:-5])
    assert read_embeddings(key, (2, 3)) is None


def test_the_sets_not_used_for_longest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    write_embeddings("old", VALUES)
    write_embeddings("used", VALUES)
    for age, key in [(300, "old"), (200, "used")]:
        os.utime(_file(key), (1e9 - age, 1e9 - age))
    assert read_embeddings("used", (2, 3)) is not None
    monkeypatch.setattr(prompt_cache, "MAX_BYTES", 2 * _file("old").stat().st_size)
    write_embeddings("new", VALUES)
    assert sorted(path.stem for path in _file("old").parent.glob("*.npy")) == ["new", "used"]


def test_a_disk_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DINOTXT_CACHE", str(tmp_path / "file"))
    write_embeddings("key", VALUES)
    assert "not kept" in caplog.text
