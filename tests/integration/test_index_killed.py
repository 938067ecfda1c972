"""Five thousand pictures, an indexer that is killed for real ten times, and what is left."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

_PICTURES = 5000
_KILLS = 10
_PIECES = 10  # of about 157, between one kill and the next
_COMMIT_OFTEN = """
from dinotxt.cli.main import main
from dinotxt.search import index

index.COMMIT_SECONDS = 0.0
main()
"""


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "album"
    rng = np.random.default_rng(0)
    for number in range(_PICTURES):
        path = folder / f"{number % 17:02d}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    (folder / "03" / "broken.jpg").write_bytes(b"broken")
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_index_killed_ten_times_equals_an_uninterrupted_one(
    album: Path, tiny_model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _COMMIT_OFTEN, "index", str(album), "--model", str(tiny_model)]
    command += ["--thumbnails", "--quiet", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    rng = random.Random(0)
    for _ in range(_KILLS):
        before = _num_pieces(killed)
        process = subprocess.Popen([*command, str(killed)], env=environment)
        while process.poll() is None and _num_pieces(killed) < before + _PIECES:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        assert process.poll() is None, "it ended before it was killed ten times"
        process.send_signal(signal.SIGKILL)
        process.wait()
    for folder in (killed, whole):
        done = subprocess.run([*command, str(folder)], env=environment, check=False)
        assert done.returncode == 3
    assert _content(killed) == _content(whole)
    assert len(np.load(killed / "base-000001.npy")) == _PICTURES
    assert len(list((killed / "thumbnails").rglob("*.jpg"))) == _PICTURES


def _num_pieces(folder: Path) -> int:
    return len(list(folder.glob("piece-*.npy")))
