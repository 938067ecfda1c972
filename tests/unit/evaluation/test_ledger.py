from pathlib import Path

import numpy as np
import pytest

from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.ledger import Ledger, fingerprint, missing


def test_rows_come_back_piece_by_piece(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    ledger = Ledger(folder, {"model": "a"})
    ledger.add(np.array([2, 0]), np.array([[1.0, 2], [3, 4]], np.float32))
    ledger.save()
    again = Ledger(folder, {"model": "a"})
    again.add(np.array([1]), np.array([[5.0, 6]], np.float32))
    again.save()
    found = {
        int(position): row.tolist()
        for positions, rows in Ledger(folder, {"model": "a"}).rows()
        for position, row in zip(positions, rows, strict=True)
    }
    assert found == {0: [3, 4], 1: [5, 6], 2: [1, 2]}


def test_without_a_folder_nothing_is_kept() -> None:
    ledger = Ledger(None, {})
    ledger.add(np.array([0]), np.zeros((1, 2)))
    ledger.save()
    assert list(ledger.rows()) == []


def test_another_evaluation_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    Ledger(tmp_path / "kept", {"model": "a", "size": (1, 2)})
    Ledger(tmp_path / "kept", {"model": "a", "size": (1, 2)})
    with pytest.raises(ConfigError, match="model: a -> b"):
        Ledger(tmp_path / "kept", {"model": "b", "size": (1, 2)})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="not empty"):
        Ledger(tmp_path / "other", {})


def test_a_damaged_piece_is_named(tmp_path: Path) -> None:
    Ledger(tmp_path, {})
    (tmp_path / "piece-000000.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match=r"piece-000000\.npz is damaged .* delete it"):
        list(Ledger(tmp_path, {}).rows())


def test_many_bytes_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinotxt.evaluation.ledger._BYTES", 64)
    ledger = Ledger(tmp_path, {})
    ledger.add(np.arange(1), np.zeros((1, 8), np.float32))
    assert not list(tmp_path.glob("piece-*.npz"))
    ledger.add(np.arange(1), np.zeros((1, 8), np.float32))
    assert len(list(tmp_path.glob("piece-*.npz"))) == 1


def test_the_fingerprint_tells_lists_apart() -> None:
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint(iter(["a"])) == fingerprint(["a"])
    assert missing([True, False, True]).tolist() == [1]
