import json
import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dinotxt.errors import CheckpointError
from dinotxt.models.weights import (
    check_keys,
    hash_tensors,
    read_state_dict,
    write_pickle,
)

TINY = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 70, "num_classes": 0}


class Dangerous:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_every_kind_of_file_gives_its_tensors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = {"a": torch.randn(3), "b": torch.arange(2)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    read = read_state_dict(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_a_wrapped_state_dict_is_unwrapped(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": {"a": torch.ones(1)}}, "epoch": 3}, tmp_path / "a.pth")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "b.pth")
    assert list(read_state_dict(tmp_path / "b.pth")) == ["a"]


def test_a_pickle_with_code_is_refused_and_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1), "b": Dangerous()}, "bad.pth")
    Path("raw.pth").write_bytes(pickle.dumps(Dangerous()))
    for name in ("bad.pth", "raw.pth"):
        with pytest.raises(CheckpointError, match=r"refused.*(GLOBAL|operand)") as caught:
            read_state_dict(name)
        assert "likely succeed" not in str(caught.value)  # torch's advice to run the code
    assert not Path("touched").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"not weights at all", b"PK\x03\x04 torn"])
def test_a_damaged_file_is_an_error_that_names_it(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"torn{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="torn"):
        read_state_dict(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.pth", "a.safetensors"):
        path = tmp_path / name
        state = {"a": torch.randn(1000)}
        save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(CheckpointError, match=name):
            read_state_dict(path)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_state_dict("nowhere.pth")


def test_a_file_with_other_things_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="epoch"):
        read_state_dict(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_state_dict(tmp_path / "b.pth")


def test_every_key_that_does_not_fit_is_listed() -> None:
    state = {"weight": torch.ones(3, 2), "extra": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        check_keys(state, nn.Linear(2, 2).state_dict(), "x.pth", advice="Take y.")
    message = str(caught.value)
    assert "missing bias" in message
    assert "unexpected extra" in message
    assert "weight is (3, 2), must be (2, 2)" in message
    assert "Take y." in message
    many = {f"key{number}": torch.ones(1) for number in range(500)}
    with pytest.raises(CheckpointError, match="and 493 more") as caught:
        check_keys(many, {}, "x.pth")
    assert len(str(caught.value).splitlines()) <= 10


def test_an_index_stands_for_the_files_beside_it(tmp_path: Path) -> None:
    state = {"a": torch.randn(3), "b": torch.randn(2)}
    index = tmp_path / "model.safetensors.index.json"
    names = {key: f"model-{key}.safetensors" for key in state}
    for key, name in names.items():
        save_file({key: state[key]}, tmp_path / name)
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    read = read_state_dict(index)
    assert all(torch.equal(read[key], state[key]) for key in state)
    for bad in ("../x.safetensors", "/x", 3, index.name):
        index.write_text(json.dumps({"weight_map": {"a": bad}}))
        with pytest.raises(CheckpointError, match="no file beside it"):
            read_state_dict(index)
    index.write_text("[1]")
    with pytest.raises(CheckpointError, match="no index"):
        read_state_dict(index)


def test_the_teacher_of_a_whole_checkpoint_is_taken_and_said(tmp_path: Path) -> None:
    """As DINO's ``main_dino.py`` saves it: both networks, optimiser, epoch and arguments."""
    teacher, student = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    rest = {"optimizer": {"state": {}}, "epoch": 3, "args": Namespace(arch="vit_small")}
    torch.save({"student": student, "teacher": teacher, **rest}, tmp_path / "dino.pth")
    with pytest.warns(UserWarning, match="the teacher is taken"):
        assert torch.equal(read_state_dict(tmp_path / "dino.pth")["a"], torch.ones(1))
    content = {"encoder": student, "predictor": student, "target_encoder": teacher, "epoch": 1}
    torch.save(content, tmp_path / "ijepa.pth.tar")
    assert torch.equal(read_state_dict(tmp_path / "ijepa.pth.tar")["a"], torch.ones(1))


def test_one_processs_part_of_a_checkpoint_says_which_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "model_0001.rank_0.pth"
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match=r"teacher_checkpoint\.pth"):
        read_state_dict(path)


def test_the_hash_depends_on_names_types_shapes_and_values() -> None:
    base = {"a": torch.zeros(2, 3)}
    others = [
        {"b": base["a"]},
        {"a": base["a"].half()},
        {"a": torch.zeros(3, 2)},
        {"a": torch.ones(2, 3)},
    ]
    hashes = {hash_tensors(state) for state in [base, *others]}
    assert len(hashes) == 5
    assert hash_tensors({"x": torch.ones(1), "a": base["a"]}) == hash_tensors(
        {"a": base["a"].clone(), "x": torch.ones(1)}
    )


def test_a_disk_that_takes_no_pickle_is_told_in_its_own_words() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_pickle({"weight": torch.ones(100_000)}, Path("/dev/full"))
