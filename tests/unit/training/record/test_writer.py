import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from dinotxt.errors import CheckpointError
from dinotxt.training.distributed.world import World
from dinotxt.training.record.state import Checkpoints
from dinotxt.training.record.writer import CheckpointWriter


def writer(folder: Path, keep: int = 2) -> CheckpointWriter:
    return CheckpointWriter(Checkpoints(folder, keep=keep), World(torch.device("cpu")))


def test_a_checkpoint_is_the_state_of_its_moment_and_is_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, save = threading.Event(), torch.save

    def slowly(content: dict[str, Any], stream: Any) -> None:
        assert go_on.wait(60)
        save(content, stream)

    monkeypatch.setattr(torch, "save", slowly)
    weight, background = torch.zeros(2), writer(tmp_path)
    background.save(2, {"step": 2, "weight": weight})
    weight.add_(1)
    assert background.checkpoints.steps() == []
    go_on.set()
    background.wait()
    background.close()
    state = background.checkpoints.load()
    assert state is not None
    assert state["weight"].tolist() == [0, 0]


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    background = writer(tmp_path, keep=2)
    for step in (1, 2, 3):
        background.save(step, {"step": step})
    background.wait()
    background.close()
    assert background.checkpoints.steps() == [2, 3]


def test_a_full_disk_is_reported_at_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = writer(tmp_path)
    background.save(2, {"step": 2})
    background.wait()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    background.save(4, {"step": 4})
    with pytest.raises(CheckpointError, match=r"step 4 was not written.*step 2 is still valid"):
        background.save(6, {"step": 6})
    background.wait()
    background.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step-2"]
