"""``dinotxt train``: train a model on pairs of picture and caption, or go on with a run."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import Session, session

if TYPE_CHECKING:
    from dinotxt.training.config import TrainConfig
    from dinotxt.training.loop import Run
    from dinotxt.training.profile import StepProfiler
    from dinotxt.training.record import StepRecord

Recipe = Annotated[str, typer.Argument(metavar="RECIPE|FILE.yaml", help="A recipe, or a file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Changes, such as optim.lr=5e-4."),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the whole configuration and leave.")
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Same as batch_size=N.")]
NumWorkers = Annotated[int | None, typer.Option(min=0, help="Same as data.num_workers=N.")]
Profile = Annotated[
    int | None,
    typer.Option("--profile", min=1, metavar="N", help="Time N steps by phase; write a trace."),
]
Size = Annotated[int | None, typer.Option(min=1, help="Same as data.size=N.")]


def train(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    print_config: PrintConfig = False,
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: NumWorkers = None,
    size: Size = None,
    profile: Profile = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a model; the same command goes on with a run that was stopped or killed.

    The run folder (`output`) holds the model, metrics.jsonl and resumable checkpoints.
    Over several processes: torchrun --nproc-per-node N -m dinotxt train ...
    """
    flags = {"batch_size": batch_size, "data.num_workers": num_workers, "data.size": size}
    changes = [f"{key}={value}" for key, value in flags.items() if value is not None]
    is_first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, one reports
    with session("train", json_path if is_first else None, quiet or not is_first) as current:
        from dinotxt.config import dump_yaml
        from dinotxt.training.config import TrainConfig

        config = TrainConfig.from_yaml(recipe, *(overrides or []), *changes)
        if print_config:
            typer.echo(dump_yaml(config), nl=False)
            return
        from dinotxt.training.record import TensorBoardLog
        from dinotxt.training.trainer import Trainer

        if not TensorBoardLog.available():
            how = 'no TensorBoard logs without `pip install "dinotxt[train]"`'
            current.console.print(how, markup=False, highlight=False)
        bar = TrainingBar(quiet=quiet or not is_first)
        trainer = Trainer(config, device=device)
        profiler = _profiler(config, profile) if is_first else None
        with profiler.active() if profiler else nullcontext():
            run = trainer.fit(reporters=[bar], on_skip=current.skip)
        _finish(current, run, profiler)


class TrainingBar:
    """A progress bar with pairs a second, the loss, the last recall and the time left.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        columns = (
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TextColumn("{task.fields[recall]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task("train", state="", recall="")
        self._begin = 0.0
        self._first = 0
        self._batch_size = 0

    def started(self, step: int, steps: int, batch_size: int) -> None:
        """Show the bar."""
        self._begin, self._first, self._batch_size = time.perf_counter(), step, batch_size
        self._progress.update(self._task, completed=step, total=steps)
        self._progress.start()

    def stepped(self, records: Sequence["StepRecord"]) -> None:
        """Move the bar."""
        if not records:
            return
        last = records[-1]
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        rate = (last.step - self._first) * self._batch_size / seconds
        state = f"{rate:.0f} pairs/s  loss {last.loss:.3f}"
        self._progress.update(self._task, completed=last.step, state=state)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the recall at 1 in the bar and all metrics above it."""
        recall = metrics.get("text_to_image_recall@1")
        if recall is not None:
            self._progress.update(self._task, recall=f"R@1 {recall:.3f}")
        text = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        self._progress.console.print(f"step {step}  {text}", highlight=False, soft_wrap=True)

    def closed(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


def _profiler(config: "TrainConfig", num_steps: int | None) -> "StepProfiler | None":
    from dinotxt.training.profile import StepProfiler

    return StepProfiler(config.output / "profile", num_steps) if num_steps else None


def _finish(current: Session, run: "Run", profiler: "StepProfiler | None") -> None:
    current.console.print(f"best: step {run.best.step}, {run.best.path}", highlight=False)
    snapshots = {
        name: {"step": one.step, "path": str(one.path), "metrics": dict(one.metrics)}
        for name, one in (("best", run.best), ("last", run.last))
    }
    profile = {} if profiler is None else {"profile": _show_profile(current, profiler)}
    try:
        current.finish({"run": str(run.path), "steps": run.steps, **snapshots, **profile})
    except typer.Exit:
        # torchrun takes any other code than 0 for a failure: skips are in the JSON and the run.
        if "WORLD_SIZE" not in os.environ:
            raise


def _show_profile(current: Session, profiler: "StepProfiler") -> dict[str, Any]:
    """Print where the time of a step went, and return it for the JSON."""
    rows = profiler.table()
    if not rows:
        current.errors.print("no step was profiled: the first one warms up", style="yellow")
    table = Table("phase", "ms a step", "share")
    for row in rows:
        table.add_row(row.phase, f"{row.milliseconds:.1f}", f"{row.share:.1%}")
    if rows:
        current.console.print(table)
        current.console.print(f"trace: {profiler.folder}/trace.json.gz", highlight=False)
    return {
        "steps": profiler.steps_done,
        "phases": {row.phase: row.milliseconds for row in rows},
        "trace": f"{profiler.folder}/trace.json.gz" if rows else None,
    }
