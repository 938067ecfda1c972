from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import timm
import torch
from numpy.typing import NDArray

from dinotxt.checkpoints import wheels
from dinotxt.checkpoints.tensors import TensorFile
from dinotxt.checkpoints.wheels import (
    WHEELS,
    Wheel,
    read_backbone,
    shipped_file,
    wheel_files,
    wheel_path,
)
from dinotxt.errors import BackendError, CheckpointError
from dinotxt.models.fitting import rename_in_order

WORDS = "embeddings.word_embeddings.weight"


def test_the_wheels_of_lite_have_the_recorded_hashes() -> None:
    for name in WHEELS:
        assert all(path.is_file() for path in wheel_files(name))
        assert wheel_path(name).exists()
        assert shipped_file(name).is_file()


def test_the_backbones_tensors_are_those_that_torch_unpickles() -> None:
    stored = torch.load(wheel_path("efficientnet-lite2"), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite2").state_dict()
    expected = rename_in_order(stored, network, "wheel")
    found = read_backbone()
    assert {name for name in expected if expected[name].is_floating_point()} == found.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name].numpy())


def test_the_shipped_text_layers_are_the_wheels_rounded() -> None:
    wheel = safetensors.numpy.load_file(wheel_path("all-minilm-l6-v2") / "model.safetensors")
    shipped = TensorFile(shipped_file("all-minilm-l6-v2"))
    scales = np.repeat(shipped[f"{WORDS}_scale"].astype(np.float32), 32, axis=1)
    words = shipped[WORDS] * scales
    error = np.linalg.norm(words - wheel[WORDS], axis=1) / np.linalg.norm(wheel[WORDS], axis=1)
    assert error.max() < 0.013
    for name in set(shipped) - {WORDS, f"{WORDS}_scale"}:
        np.testing.assert_array_equal(shipped[name], wheel[name].astype(np.float16))
    assert "encoder.layer.3.output.dense.bias" in shipped


def test_a_wheel_that_is_not_installed_is_an_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = Wheel(package="no_such_wheel", path="a", requires="dinotxt[lite]", shipped=("a", ""))
    monkeypatch.setitem(WHEELS, "gone", gone)
    with pytest.raises(BackendError, match=r'pip install "dinotxt\[lite\]"'):
        wheel_path("gone")


def test_a_damaged_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = Wheel(
        package="dinotxt",
        path="errors.py",
        requires="dinotxt",
        sha256={"errors.py": "0" * 64},
        shipped=("efficientnet-lite2.tsv", "0" * 64),
    )
    monkeypatch.setitem(WHEELS, "damaged", damaged)
    with pytest.raises(CheckpointError, match="force-reinstall"):
        wheel_path("damaged")
    with pytest.raises(CheckpointError, match="force-reinstall"):
        shipped_file("damaged")


def test_tensors_are_read_as_safetensors_reads_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given: dict[str, NDArray[Any]] = {
        "half": rng.standard_normal((3, 5)).astype(np.float16),
        "single": rng.standard_normal((2, 3, 4)).astype(np.float32),
        "scalar": np.array(2.5, np.float32),
        "bytes": rng.integers(-128, 128, 7, dtype=np.int8),
        "empty": np.empty((0, 4), np.float32),
    }
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(given, path, metadata={"made": "here"})
    found = TensorFile(path)
    assert found.keys() == given.keys()
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_a_file_of_another_kind_is_no_tensor_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x04\0\0\0\0\0\0\0nope")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        TensorFile(path)
    assert wheels.WHEELS
