"""``dinotxt curate`` on every engine: workers, killed runs, a lost node."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.pipeline import curate


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_two_local_workers_give_the_bytes_of_one(settings: dict[str, Any], tmp_path: Path) -> None:
    for workers in (1, 2):
        changed = {**settings, "workers": workers, "output": str(tmp_path / f"w{workers}")}
        curate(load_config(CurationConfig, changed), "run")
    assert _digests(tmp_path / "w1") == _digests(tmp_path / "w2")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    curate(load_config(CurationConfig, {**settings, "output": str(tmp_path / "whole")}), "run")
    path = tmp_path / "killed.yaml"
    killed = {**settings, "output": str(tmp_path / "killed")}
    path.write_text(yaml.safe_dump(killed, sort_keys=False))
    command = [sys.executable, "-m", "dinotxt", "curate", "run", str(path), "--quiet"]
    for stage in ("match", "embed", "cluster", "keep"):
        process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / stage).exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False).returncode == 0
    assert _digests(tmp_path / "killed") == _digests(tmp_path / "whole")


@pytest.mark.slow
def test_a_two_node_ray_cluster_gives_the_same_bytes_though_a_node_is_lost(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    curate(load_config(CurationConfig, {**settings, "output": str(tmp_path / "local")}), "run")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        config = load_config(
            CurationConfig,
            {**settings, "engine": "ray", "workers": 2, "output": str(tmp_path / "ray")},
        )
        removed: list[tuple[int, int]] = []

        def lose_a_node(stage: str, done: int, total: int) -> None:
            if stage == "embed" and not removed:
                removed.append((done, total))
                cluster.remove_node(lost, allow_graceful=False)

        curate(config, "run", progress=lose_a_node)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert removed == [(1, 3)]
    assert _digests(tmp_path / "ray") == _digests(tmp_path / "local")
