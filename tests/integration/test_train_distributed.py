"""Training by several real processes, and what happens when one of them is hurt."""

import io
import json
import os
import random
import resource
import tarfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from dinotxt.errors import CheckpointError
from dinotxt.training.config import TrainConfig
from dinotxt.training.feed.vision import Pictures
from dinotxt.training.record.state import Checkpoints
from dinotxt.training.trainer import Trainer
from dinotxt.training.update.objective import Objective

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
Hurt = Callable[[int], None]
_SECONDS = 300


class Launch:
    """Forked processes that train one run, as ``torchrun`` would start them."""

    def __init__(self, config: TrainConfig, count: int, hurt: Hurt | None = None) -> None:
        # As torchrun does: the store is the launcher's, so that nobody else can take its port.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        port = self.store.port
        self.notes = config.output.parent / f"notes-{port}"
        self.notes.mkdir()
        context = get_context("fork")
        arguments = [(config, rank, count, port, self.notes, hurt) for rank in range(count)]
        self.ranks = [context.Process(target=_train, args=own) for own in arguments]
        for rank in self.ranks:
            rank.start()

    def end(self) -> list[str]:
        """Wait for all processes; return what each ended with, ``killed`` for no word."""
        for rank in self.ranks:
            rank.join(_SECONDS)
            assert rank.exitcode is not None, "a process hangs"
        paths = [self.notes / str(rank) for rank in range(len(self.ranks))]
        return [path.read_text() if path.exists() else "killed" for path in paths]


def _train(*given: Any) -> None:
    config, rank, count, port, notes, hurt = given
    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    launch = {"RANK": rank, "WORLD_SIZE": count, "TORCHELASTIC_RESTART_COUNT": 0, **where}
    os.environ |= {name: str(value) for name, value in launch.items()}
    try:
        if hurt is not None:
            hurt(rank)
        run = Trainer(config, device="cpu").fit()
        word = f"done {run.steps} {run.best.step}"
    except BaseException as error:
        word = f"{type(error).__name__}: {error}"
    (notes / str(rank)).write_text(word)


def together(config: TrainConfig, count: int, hurt: Hurt | None = None) -> list[str]:
    return Launch(config, count, hurt).end()


def numbers(config: TrainConfig) -> list[dict[str, Any]]:
    path = config.output / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(config: TrainConfig) -> list[float]:
    return [line["loss"] for line in numbers(config) if "loss" in line]


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    (path,) = (config.output / "model").glob("*.safetensors")
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def state(config: TrainConfig) -> dict[str, Any]:
    loaded = Checkpoints(config.output / "checkpoints", keep=1).load()
    assert loaded is not None
    return loaded


def assert_same_run(left: TrainConfig, right: TrainConfig) -> None:
    """Check every loss, metric, weight and moment to the last bit."""
    assert numbers(left) == numbers(right)
    torch.testing.assert_close(weights(left), weights(right), rtol=0, atol=0)
    old, new = state(left), state(right)
    assert {key: old[key] for key in old if key != "learner"} == {
        key: new[key] for key in new if key != "learner"
    }
    torch.testing.assert_close(old["learner"], new["learner"], rtol=0, atol=0)


@pytest.fixture
def config(tiny_run: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Build the configuration of a tiny run in a folder of its own."""

    def make(name: str, *changes: str) -> TrainConfig:
        return TrainConfig.from_yaml(tiny_run, f"output={tmp_path}/{name}", *changes)

    return make


Make = Callable[..., TrainConfig]


def wait_for(config: TrainConfig, num_lines: int, ranks: Sequence[ForkProcess]) -> None:
    path = config.output / "metrics.jsonl"
    while all(rank.is_alive() for rank in ranks):
        if path.exists() and path.read_bytes().count(b"\n") >= num_lines:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("changes", [(), ("compute.parallel=fsdp", "optim.average=0.5")])
def test_two_processes_train_the_model_of_one(config: Make, changes: tuple[str, ...]) -> None:
    alone = config("alone", *(change for change in changes if "compute" not in change))
    Trainer(alone, device="cpu").fit()
    both = config("both", *changes, "data.num_workers=1")
    words = together(both, 2)
    assert words[0] == words[1]
    assert words[0].startswith("done 6")
    assert len(numbers(both)) == len(numbers(alone)) == 8
    torch.testing.assert_close(losses(both), losses(alone), rtol=0, atol=1e-5)
    assert weights(both).keys() == weights(alone).keys()
    assert sorted(path.name for path in (both.output / "checkpoints/step-6").iterdir()) == [
        "state-1.pt",
        "state-1.pt.sha256",
        "state.pt",
        "state.pt.sha256",
    ]


def test_a_run_goes_on_with_four_processes_and_then_with_one(config: Make) -> None:
    alone, moved = config("alone", "steps=30"), config("moved", "steps=30")
    Trainer(alone, device="cpu").fit()
    for count in (2, 4):
        launch, before = Launch(moved, count), len(numbers(moved))
        wait_for(moved, before + 2, launch.ranks)
        for rank in launch.ranks:
            rank.terminate()
        words = launch.end()
        assert len(set(words)) == 1
        assert "stopped by SIGTERM" in words[0] or "done" in words[0]
    Trainer(moved, device="cpu").fit()
    torch.testing.assert_close(losses(moved), losses(alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_sigkill_of_any_rank_changes_not_a_bit(config: Make, kills: int) -> None:
    changes = (f"steps={16 * kills + 30}", "checkpoint.every=3", "evaluate.every=20")
    whole, killed = config("whole", *changes), config("killed", *changes)
    together(whole, 2)
    draw = random.Random(0)
    for _ in range(kills):
        launch, before = Launch(killed, 2), len(numbers(killed))
        wait_for(killed, before + draw.randint(1, 10), launch.ranks)
        time.sleep(draw.uniform(0, 0.05))
        victim = launch.ranks[draw.randrange(2)]
        assert victim.is_alive()
        victim.kill()
        words = launch.end()
        assert "killed" in words
        assert any("another process of the run is gone" in word for word in words)
    assert together(killed, 2)[0].startswith("done")
    assert_same_run(whole, killed)


def test_a_disk_that_takes_no_more_stops_all_ranks_at_the_last_checkpoint(config: Make) -> None:
    whole, full = config("whole"), config("full")
    together(whole, 2)

    def limited(rank: int) -> None:
        save = torch.save

        def on_little_space(content: Any, stream: Any, **options: Any) -> None:
            is_state = isinstance(content, dict) and rank == 1
            if is_state and Checkpoints(full.output / "checkpoints", keep=9).steps() == [2]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            save(content, stream, **options)

        torch.save = on_little_space  # type: ignore[assignment]

    words = together(full, 2, limited)
    assert words[0] == words[1]
    assert words[0].startswith("CheckpointError: the checkpoint of step 4 was not written")
    assert "that of step 2 is still valid" in words[0]
    assert together(full, 2)[0].startswith("done")
    assert_same_run(whole, full)


def test_a_torn_part_of_a_checkpoint_is_named(config: Make) -> None:
    settings = config("run")
    together(settings, 2)
    torn = settings.output / "checkpoints" / "step-6" / "state-1.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"step-6 cannot be read .*delete that folder"):
        Trainer(settings, device="cpu").fit()


def test_a_loss_that_is_not_finite_stops_every_rank_and_names_the_batch(config: Make) -> None:
    settings = config("run")

    def diverge(rank: int) -> None:
        forward, calls = Objective.forward, iter(range(100))

        def failing(*arguments: Any) -> torch.Tensor:
            loss = forward(*arguments)
            return loss * float("nan") if next(calls) == 4 and rank == 1 else loss

        Objective.forward = failing  # type: ignore[method-assign, assignment]

    words = together(settings, 2, diverge)
    assert "step 4 is the last good checkpoint" in " ".join(words)
    assert "its batch begins with" in " ".join(words)
    assert state(settings)["step"] == 4


def test_a_data_worker_that_hangs_ends_the_run_with_a_message(config: Make) -> None:
    def hang(rank: int) -> None:
        def read(*_: object) -> None:
            time.sleep(_SECONDS)

        if rank == 1:
            Pictures.read = read  # type: ignore[method-assign, assignment]

    changes = ("data.num_workers=1", "data.timeout=4", "data.val=null")
    words = together(config("run", *changes), 2, hang)
    assert words[1].startswith("DataError: the data workers gave no batch: DataLoader timed out")
    assert words[0].startswith(("BackendError: another process of the run is gone", "DataError"))


def write_shards(folder: Path, torn: str) -> None:
    """Write four tars of six pictures, of which one is cut in the middle; all state six."""
    folder.mkdir()
    for shard in range(4):
        path = folder / f"s-{shard}.tar"
        with tarfile.open(path, "w") as archive:
            for number in range(6):
                picture = io.BytesIO()
                Image.new("RGB", (40, 36), (40 * number, 60 * shard, 40)).save(picture, "PNG")
                for ending, content in (("txt", b"a square"), ("png", picture.getvalue())):
                    member = tarfile.TarInfo(f"{number}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    (folder / "sizes.json").write_text(json.dumps({f"s-{shard}.tar": 6 for shard in range(4)}))
    path = folder / torn
    path.write_bytes(path.read_bytes()[: 7 * 1024 + 530])  # in the fourth picture


def test_a_torn_shard_loses_its_samples_alone_and_too_many_stop_every_rank(
    config: Make, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    write_shards(shards, "s-1.tar")
    stream = "data.stream={lanes: 2, window: 2}"
    changes = (f"data.train={shards}/s-*.tar", stream, "batch_size=8", "data.val=null")
    whole = config("whole", *changes, "data.max_skipped=0.2")
    assert together(whole, 2) == ["done 6 6"] * 2
    lines = (whole.output / "skipped.jsonl").read_text().splitlines()
    skips = [json.loads(line) for line in lines]
    assert len({skip["path"] for skip in skips}) == len(skips) == 3
    assert all(skip["path"].startswith(f"{shards}/s-1.tar") for skip in skips)
    assert ["torn at byte" in skip["reason"] for skip in skips].count(True) == 2
    assert "half a pair: it has no picture" in [skip["reason"] for skip in skips]
    words = together(config("few", *changes, "data.max_skipped=0.05"), 2)
    assert all(word.startswith("DataError: ") for word in words)
    assert all("more than data.max_skipped (0.05)" in word for word in words)
