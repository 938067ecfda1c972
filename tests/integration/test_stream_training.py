"""Training on streams, local and remote: the same order for all, exact resume, broken shards."""

import functools
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dinotxt.cli.main import app
from dinotxt.errors import DataError, DinotxtError
from dinotxt.results.skip import Skip
from dinotxt.training.config import TrainConfig
from dinotxt.training.trainer import Trainer

NUM_SHARDS, NUM_SAMPLES = 4, 6


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 36), (9 * number, 255 - 9 * number, 40)).save(stream, "PNG")
    return stream.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_tar(path: Path, first: int, broken: int | None = None) -> None:
    with tarfile.open(path, "w") as archive:
        for number in range(first, first + NUM_SAMPLES):
            captions = {"captions": [f"picture {number}", f"number {number}"]}
            add(archive, f"{number:03d}.json", json.dumps(captions).encode())
            content = b"torn" if number == broken else picture(number)
            add(archive, f"{number:03d}.png", content)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four tars of six pictures."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(NUM_SHARDS):
        write_tar(folder / f"s-{shard}.tar", shard * NUM_SAMPLES)
    return folder


@pytest.fixture
def server(shards: Path) -> Iterator[str]:
    """A web server of the shards on the loopback interface."""
    handler = functools.partial(Silent, directory=str(shards))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


class Silent(SimpleHTTPRequestHandler):
    """A handler that writes no log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def config(tiny_run: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """The tiny run on a stream, with overrides."""

    def make(train: str, run: str, *overrides: str) -> TrainConfig:
        fixed = ("data.val=null", "data.stream.lanes=2", "data.stream.window=2")
        where = (f"data.train={train}", f"output={tmp_path / run}")
        return TrainConfig.from_yaml(tiny_run, *fixed, *where, *overrides)

    return make


def fit(config: TrainConfig) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train and return the losses and the last weights."""
    skips: list[Skip] = []
    run = Trainer(config, device="cpu").fit(on_skip=skips.append)
    lines = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    state = torch.load(run.last.path / "state.pt", weights_only=True)
    return [line["loss"] for line in lines if "loss" in line], state["learner"]["model"]


def assert_same(one: tuple[list[float], Any], other: tuple[list[float], Any]) -> None:
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


def test_a_stream_trains_alike_from_disk_from_memory_and_from_the_web(
    shards: Path, server: str, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    for path in shards.iterdir():
        memory.pipe(f"/stream/{path.name}", path.read_bytes())
    here = fit(config(str(shards / "s-{0..3}.tar"), "local"))
    assert len(here[0]) == 6
    assert_same(here, fit(config("memory://stream/*.tar", "memory")))
    cache = f"data.stream.cache={tmp_path / 'copies'}"
    web = config(f"{server}/s-{{0..3}}.tar", "web", cache, "data.num_workers=2")
    assert_same(here, fit(web))
    assert len(list((tmp_path / "copies").glob("*/*.tar"))) == NUM_SHARDS
    memory.store.clear()


def test_a_stopped_run_goes_on_in_the_middle_of_an_epoch(
    shards: Path, config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(config(str(shards), "whole"))
    cut = config(str(shards), "cut")

    class Stop:
        def stepped(self, records: list[Any]) -> None:
            if records and records[-1].step == 3:
                raise DinotxtError("enough")

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *arguments, **named: None

    with pytest.raises(DinotxtError, match="enough"):
        Trainer(cut, device="cpu").fit(reporters=[Stop()])  # type: ignore[list-item]
    assert_same(whole, fit(cut))


def test_parquet_shards_train(
    config: Callable[..., TrainConfig], tmp_path: Path, shards: Path
) -> None:
    for shard in range(2):
        numbers = range(shard * 8, shard * 8 + 8)
        columns = {
            "image": [{"bytes": picture(number), "path": None} for number in numbers],
            "caption": [f"picture {number}" for number in numbers],
        }
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"p{shard}.parquet")
    losses, _ = fit(config(str(tmp_path / "p*.parquet"), "parquet", "data.val=" + str(shards)))
    assert len(losses) == 6


def test_broken_samples_are_written_down_and_too_many_of_them_stop_the_run(
    shards: Path, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    write_tar(shards / "s-1.tar", NUM_SAMPLES, broken=8)
    losses, _ = fit(config(str(shards), "one"))
    assert len(losses) == 6
    lines = [json.loads(line) for line in (tmp_path / "one/skipped.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [f"{shards}/s-1.tar::008"]
    assert "is not a picture" in lines[0]["reason"]
    write_tar(shards / "s-2.tar", 2 * NUM_SAMPLES, broken=14)
    with pytest.raises(DataError, match=r"2 of 24 pairs cannot be used, more than data\.max_sk"):
        fit(config(str(shards), "two", "data.max_skipped=0.05"))


def test_a_torn_parquet_shard_is_written_down_and_the_others_train(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    columns = {
        "jpg": [picture(n) for n in range(12)],
        "caption": [f"number {n}" for n in range(12)],
    }
    for name in ("a", "b"):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{name}.parquet")
    torn = tmp_path / "b.parquet"
    torn.write_bytes(torn.read_bytes()[:-100])
    losses, _ = fit(config(str(tmp_path / "*.parquet"), "torn"))
    assert len(losses) == 6
    (line,) = (tmp_path / "torn/skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == str(torn)
    assert "is not a readable Parquet file" in json.loads(line)["reason"]


def test_of_a_damaged_parquet_shard_only_the_damaged_rows_are_left_out(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    columns = {
        "jpg": [picture(n) for n in range(16)],
        "caption": [f"number {n}" for n in range(16)],
    }
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4)
    chunk = pyarrow.parquet.read_metadata(path).row_group(2).column(1)
    start = chunk.dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(content)
    losses, _ = fit(config(str(path), "damaged", "data.max_skipped=0.3"))
    assert len(losses) == 6
    lines = [json.loads(x) for x in (tmp_path / "damaged/skipped.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == [f"{path}::{row:08d}" for row in range(8, 12)]
    assert {line["reason"].partition(" (")[0] for line in lines} == {
        "row group 2 of the Parquet file is damaged"
    }
    with pytest.raises(DataError, match=r"4 of 16 pairs cannot be used, more than data\.max_sk"):
        fit(config(str(path), "strict", "data.max_skipped=0.2"))


def test_a_shard_that_cannot_be_had_stops_the_run(config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(DataError, match="does not exist"):
        fit(config("memory://nowhere/s-{0..1}.tar", "none"))


def test_train_profiles_steps(tiny_run: Path, tmp_path: Path) -> None:
    command = ["train", str(tiny_run), "--profile", "2", "--json", "-"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    profile = json.loads(result.stdout)["profile"]
    assert profile["steps"] == 2
    assert set(profile["phases"]) == {
        "data wait",
        "frozen forward",
        "trained forward",
        "backward",
        "loss",
        "optimiser",
        "other",
    }
    assert all(profile["phases"][name] > 0 for name in ("frozen forward", "backward", "optimiser"))
    assert (tmp_path / "run/profile/trace.json.gz").is_file()


def test_gflops_spent_grow_and_go_on_after_a_stop(
    tiny_run: Path, config: Callable[..., TrainConfig], shards: Path, tmp_path: Path
) -> None:
    fit(config(str(shards), "run"))
    lines = map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    spent = [line["gflops"] for line in lines if "loss" in line]
    assert len(spent) == 6
    assert all(before < after for before, after in pairwise(spent))
    steps = [after - before for before, after in pairwise([0.0, *spent])]
    assert max(steps) < 1.5 * min(steps)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.val=0.2", "let data.val name other data"),
        ("data.curation=curated", "set data.stream to null"),
        ("start={kind: ridge}", "not a stream"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(
    config: Callable[..., TrainConfig], override: str, message: str
) -> None:
    with pytest.raises(DinotxtError, match=message):
        config("shards/*.tar", "run", override)
