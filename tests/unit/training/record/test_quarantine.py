import json
from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.results.skip import Skip
from dinotxt.training.record.quarantine import Quarantine


def test_each_pair_is_written_once_also_after_a_restart(tmp_path: Path) -> None:
    path, heard = tmp_path / "skipped.jsonl", list[Skip]()
    for _ in range(2):
        quarantine = Quarantine(path, heard.append)
        for name in ("a.jpg", "b.jpg", "a.jpg"):
            quarantine.add(Skip(name, "torn"))
    assert [skip.path for skip in heard] == ["a.jpg", "b.jpg"]
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_loss_is_told_once_by_the_callback_or_else_by_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = list[Skip]()
    Quarantine(tmp_path / "a.jsonl", heard.append).add(Skip("a.jpg", "torn"))
    assert (heard, caplog.messages) == ([Skip("a.jpg", "torn")], [])
    Quarantine(tmp_path / "b.jsonl").add(Skip("b.jpg", "torn"))
    assert caplog.messages == ["left out b.jpg: torn"]


def test_too_many_lost_pairs_stop_the_run(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "skipped.jsonl")
    quarantine.add(Skip("a.jpg", "torn"))
    quarantine.check(10, 0.0)
    quarantine.add(Skip("b.jpg", "torn"))
    quarantine.check(10, 0.2)
    with pytest.raises(DataError, match=r"2 of 10 pairs .* data\.max_skipped \(0\.1\)"):
        quarantine.check(10, 0.1)
