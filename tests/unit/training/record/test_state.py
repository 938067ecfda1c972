import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from dinotxt.config import configuration
from dinotxt.errors import CheckpointError, ConfigError, DataError
from dinotxt.files import mark_folder
from dinotxt.training.distributed.world import World
from dinotxt.training.record.state import (
    CHECKPOINTS,
    SKIPPED,
    Checkpoints,
    CheckpointWriter,
    claimed,
)


@configuration
class Run:
    output: str
    lr: float = 0.1


def test_the_newest_checkpoint_is_loaded_and_old_ones_are_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.load() is None
    for step in (2, 4, 10):
        checkpoints.save(step, {"step": step, "model": {"w": torch.full((3,), float(step))}})
    assert checkpoints.steps() == [4, 10]
    assert (checkpoints.folder / "last").read_text() == "step-10\n"
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 10
    assert state["model"]["w"].tolist() == [10.0] * 3


def test_a_state_that_was_read_back_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    pair, name = (0.9, 0.99), "".join(["mo", "del"])
    state = {"step": 2, name: {"w": torch.ones(3)}, "groups": [{"betas": pair}, {"betas": pair}]}
    state["best"] = {"step": 2, "model": "model"}
    first, second = (Checkpoints(tmp_path / name, keep=1) for name in ("first", "second"))
    first.save(2, state)
    restored = first.load()
    assert restored is not None
    second.save(2, {**restored, "groups": [{"betas": (0.9, 0.99)}, {"betas": (0.9, 0.99)}]})
    left, right = ((one.path(2) / "state.pt").read_bytes() for one in (first, second))
    assert left == right


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_full_disk_keeps_the_old_checkpoint_valid(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(2, {"step": 2})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (torch, "save")), full)
    with pytest.raises(CheckpointError, match=r"No space left.*step 2 is still valid.*Free space"):
        checkpoints.save(4, {"step": 4})
    monkeypatch.undo()
    assert checkpoints.load() == {"step": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step-2"]


def test_the_disk_s_own_words_are_told_where_torch_hides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos 768 vs 662")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"step 4 was not written \(.*No space left"):
        Checkpoints(tmp_path, keep=1).save(4, {"step": 4})


def test_a_checkpoint_that_was_not_finished_is_not_seen(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(2, {"step": 2})
    (tmp_path / ".step-4.tmp").mkdir()
    (tmp_path / ".step-4.tmp" / "state.pt").write_bytes(b"half")
    (tmp_path / "step-6").mkdir()
    assert checkpoints.load() == {"step": 2}
    checkpoints.save(4, {"step": 4})
    assert checkpoints.load() == {"step": 4}


def test_a_damaged_checkpoint_names_its_folder(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(2, {"step": 2})
    (tmp_path / "step-2" / "state.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="step-2 cannot be read"):
        checkpoints.load()


def claim(folder: Path, config: Run) -> None:
    with claimed(folder, config):
        pass


def test_a_folder_of_another_configuration_is_refused_with_the_differences(tmp_path: Path) -> None:
    claim(tmp_path, Run(output="a", lr=0.3))
    claim(tmp_path, Run(output="a"))  # nothing was saved yet
    Checkpoints(tmp_path / CHECKPOINTS, keep=1).save(1, {"step": 1})
    claim(tmp_path, Run(output="b"))
    with pytest.raises(ConfigError, match=r"lr: 0\.1 -> 0\.2"):
        claim(tmp_path, Run(output="b", lr=0.2))
    assert "lr: 0.1" in (tmp_path / "config.yaml").read_text()


def test_a_folder_of_others_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    with pytest.raises(DataError, match=r"holds other files \(config\.yaml\)"):
        claim(tmp_path, Run(output="a"))
    assert (tmp_path / "config.yaml").read_text() == "mine: 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_folder_of_another_verb_is_refused(tmp_path: Path) -> None:
    mark_folder(tmp_path, "index")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds other files \(manifest\.json\)"):
        claim(tmp_path, Run(output="a"))


def test_a_second_writer_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with (
        claimed(tmp_path, Run(output="a")),
        pytest.raises(DataError, match=f"`dinotxt train` \\(process {os.getpid()}"),
        claimed(tmp_path, Run(output="a", lr=0.2)),
    ):
        pass
    assert "lr: 0.1" in (tmp_path / "config.yaml").read_text()


def test_what_an_attempt_without_a_checkpoint_skipped_is_forgotten(tmp_path: Path) -> None:
    claim(tmp_path, Run(output="a"))
    (tmp_path / SKIPPED).write_text('{"path": "a.jpg", "reason": "torn"}\n')
    claim(tmp_path, Run(output="a"))
    assert not (tmp_path / SKIPPED).exists()
    Checkpoints(tmp_path / CHECKPOINTS, keep=1).save(1, {"step": 1})
    (tmp_path / SKIPPED).write_text("kept\n")
    claim(tmp_path, Run(output="a"))
    assert (tmp_path / SKIPPED).read_text() == "kept\n"


def test_one_flipped_bit_of_a_checkpoint_is_told(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(2, {"step": 2, "model": {"w": torch.zeros(64)}})
    path = tmp_path / "step-2" / "state.pt"
    content = bytearray(path.read_bytes())
    place = content.index(bytes(200)) + 100  # among the zeros of the tensor
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step-2 cannot be read .*SHA-256"):
        checkpoints.load()
    content[place] ^= 1
    path.write_bytes(content)
    assert checkpoints.load() is not None


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
