"""``dinotxt train`` end to end, and killed by real signals."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.integration.verbs import call

from dinotxt.training.record.log import TensorBoardLog

DINOTXT = [sys.executable, "-m", "dinotxt"]


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = call(*arguments)
    return result.exit_code, result.stdout, result.stderr


def weights(run: Path) -> dict[str, torch.Tensor]:
    (path,) = (run / "model").glob("*.safetensors")
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def state(run: Path) -> Path:
    step = (run / "checkpoints" / "last").read_text().strip()
    return run / "checkpoints" / step / "state.pt"


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def numbers(run: Path) -> list[object]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_train_prints_json_and_leaves_a_run(tiny_run: Path, tmp_path: Path) -> None:
    code, out, _ = invoke("train", tiny_run, "--json", "-", f"output={tmp_path}/run")
    assert code == 0
    result = json.loads(out)
    assert (result["task"], result["steps"], result["skipped"]) == ("train", 6, [])
    assert result["run"] == str(tmp_path / "run")
    assert Path(result["best"]["path"], "config.json").is_file()
    assert Path(result["last"]["path"]).name == "step-6"
    assert "text_to_image_recall@1" in result["last"]["metrics"]


def test_print_config_shows_every_key_and_trains_nothing(tiny_run: Path, tmp_path: Path) -> None:
    code, out, _ = invoke("train", tiny_run, "optim.lr=5e-4", "--print-config", "--size", 64)
    assert code == 0
    assert "lr: 0.0005" in out
    assert "size: 64" in out
    assert "micro_batch_size: null" in out
    assert not (tmp_path / "run").exists()


def test_a_misspelt_key_fails_with_the_nearest_one(tiny_run: Path) -> None:
    code, _, err = invoke("train", tiny_run, "data.trian=x")
    assert code == 1
    assert "data.trian" in err
    assert "`train`" in err


def test_another_configuration_in_the_folder_is_refused(tiny_run: Path) -> None:
    assert invoke("train", tiny_run, "--quiet")[0] == 0
    code, _, err = invoke("train", tiny_run, "optim.lr=0.5")
    assert code == 1
    assert "optim.lr: 0.001 -> 0.5" in err


def test_the_same_command_on_a_finished_run_changes_nothing(tiny_run: Path) -> None:
    run = tiny_run.parent / "run"
    assert invoke("train", tiny_run, "--quiet")[0] == 0
    before = weights(run), numbers(run)
    code, out, _ = invoke("train", tiny_run, "--json", "-")
    assert (code, json.loads(out)["steps"]) == (0, 6)
    assert_equal(before[0], weights(run))
    assert before[1] == numbers(run)


def test_a_run_without_tensorboard_says_so(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoardLog, "available", lambda: False)
    code, out, _ = invoke("train", tiny_run)
    assert code == 0
    assert 'no TensorBoard logs without `pip install "dinotxt[train]"`' in out
    assert not (tiny_run.parent / "run" / "tensorboard").exists()


def test_a_picture_that_cannot_be_read_is_reported_and_left_out(tiny_run: Path) -> None:
    (tiny_run.parent / "04.png").write_bytes(b"no picture")
    code, out, err = invoke("train", tiny_run, "--json", "-", "data.num_workers=1")
    assert code == 3
    skipped = json.loads(out)["skipped"]
    assert [Path(skip["path"]).name for skip in skipped] == ["04.png"]
    assert "04.png" in err
    assert "04.png" in (tiny_run.parent / "run" / "skipped.jsonl").read_text()


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_not_a_bit(tiny_run: Path, tmp_path: Path) -> None:
    long = ["steps=60", "checkpoint.every=3", "evaluate.every=10", "--quiet"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*DINOTXT, "train", tiny_run, *long, f"output={whole}"], check=True)
    draw = random.Random(0)
    kills = 0
    while True:
        process = subprocess.Popen([*DINOTXT, "train", tiny_run, *long, f"output={killed}"])
        before = _size(killed)
        while process.poll() is None and _size(killed) == before:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.6))
        if process.poll() is not None:
            assert process.returncode == 0
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 2
    assert_equal(weights(whole), weights(killed))
    assert state(whole).read_bytes() == state(killed).read_bytes()
    assert numbers(whole) == numbers(killed)


def _size(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_to_all_processes_writes_a_checkpoint_and_the_run_goes_on(
    workers: int, tiny_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = ["steps=4000", "checkpoint.every=4000", f"data.num_workers={workers}"]
    command = [*DINOTXT, "train", str(tiny_run), *changes]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, env={**os.environ}, start_new_session=True
    )
    while process.poll() is None and _size(run) == 0:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"stopped by SIGTERM" in err
    step = int((run / "checkpoints" / "last").read_text().strip().removeprefix("step-"))
    assert 0 < step < 4000
    lines = numbers(run)
    assert isinstance(lines[-1], dict)
    assert lines[-1]["step"] == step
