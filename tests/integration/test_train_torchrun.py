"""``torchrun -m dinotxt train``, as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = ["-m", "dinotxt", "train"]
ALONE = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
ENVIRONMENT = {**ALONE, "OMP_NUM_THREADS": "1"}


def losses(run: Path) -> list[float]:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def test_torchrun_trains_the_model_of_one_process(tiny_run: Path, tmp_path: Path) -> None:
    (tiny_run.parent / "04.png").write_bytes(b"no picture")
    alone = [sys.executable, *TRAIN, str(tiny_run), f"output={tmp_path}/alone", "--quiet"]
    assert subprocess.run(alone, env=ENVIRONMENT, check=False).returncode == 3
    both = [*TORCHRUN, *TRAIN, str(tiny_run), f"output={tmp_path}/both", "--json", "-"]
    done = subprocess.run(both, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert (result["task"], result["steps"]) == ("train", 6)
    assert [Path(skip["path"]).name for skip in result["skipped"]] == ["04.png"]
    np.testing.assert_allclose(losses(tmp_path / "both"), losses(tmp_path / "alone"), atol=1e-5)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_sigterm_to_torchrun_writes_a_checkpoint_that_one_process_ends(
    tiny_run: Path, tmp_path: Path, parallel: str
) -> None:
    run = tmp_path / "run"
    changes = ["steps=4000", "checkpoint.every=4000", "evaluate.every=4000"]
    command = [*TORCHRUN, *TRAIN, str(tiny_run), *changes, f"compute.parallel={parallel}"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(losses(run)) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "stopped by SIGTERM" in err
    step = int((run / "checkpoints" / "last").read_text().strip().removeprefix("step-"))
    assert step == len(losses(run))
    assert (run / "checkpoints" / f"step-{step}" / "state-1.pt").is_file()


def test_torchrun_goes_on_by_itself_when_a_process_is_lost(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = ["steps=60", "checkpoint.every=5", "evaluate.every=60", "--quiet"]
    restarts = [*TORCHRUN, "--max-restarts", "2", *TRAIN, str(tiny_run), *changes]
    process = subprocess.Popen(restarts, env=ENVIRONMENT)
    while process.poll() is None and len(losses(run)) < 12:
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert process.wait(timeout=300) == 0
    assert len(losses(run)) == 60
    whole = [*TORCHRUN, *TRAIN, str(tiny_run), *changes, f"output={tmp_path}/whole"]
    subprocess.run(whole, env=ENVIRONMENT, check=True)
    assert losses(tmp_path / "whole") == losses(run)
