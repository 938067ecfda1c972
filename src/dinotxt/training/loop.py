"""The loop of a run: one for pictures and caches, with exact resume and a best model."""

import math
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor

from dinotxt.checkpoints.format import save_model
from dinotxt.checkpoints.sources import build_model, build_tokenizer
from dinotxt.data.features import FeatureStore
from dinotxt.data.pictures import Transform
from dinotxt.errors import CheckpointError, DataError, DinotxtError
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import TrainConfig
from dinotxt.training.cost import Ledger
from dinotxt.training.distributed import World
from dinotxt.training.feed import Batch, Batches
from dinotxt.training.record import (
    CHECKPOINTS,
    Checkpoints,
    CheckpointWriter,
    Quarantine,
    Reporter,
    StepRecord,
)
from dinotxt.training.setup import RunBuilder, transform_config
from dinotxt.training.start import start
from dinotxt.training.update import Learner

Evaluate = Callable[[DinoTxt], Mapping[str, float]]
_SCORES = ("text_to_image_recall@1", "image_to_text_recall@1")
_UNREAD_STEPS = 10  # losses that wait on a GPU before they are read


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the model that is on the disk.

    Attributes:
        step: Steps it was trained for.
        path: Its folder.
        metrics: Its validation metrics; empty where there were none.
    """

    step: int
    path: Path
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        path: The run folder; ``dinotxt.load`` takes it and gives the best model.
        steps: Steps done.
        best: The model with the highest mean of both recalls at 1; without validation the last.
        last: The last resumable checkpoint.
    """

    path: Path
    steps: int
    best: Snapshot
    last: Snapshot


class StopRequest:
    """A context in which SIGTERM and the first SIGINT only set ``name``.

    A second SIGINT (Ctrl-C) acts as usual. SIGTERM may come twice, to the process group and from
    torchrun, and never ends the step. Outside the main thread nothing is installed.

    Attributes:
        name: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore(*self._before)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._restore(signal.SIGINT)
        self.name = signal.Signals(number).name

    def _restore(self, *numbers: signal.Signals) -> None:
        for number in numbers:
            if number in self._before:
                signal.signal(number, self._before.pop(number))  # type: ignore[arg-type]


class Loop:
    """Builds a run, or restores it from its last checkpoint, and takes its steps.

    Args:
        config: The run's configuration; its output folder exists.
        world: The processes and the device of this one.
        evaluate: Gives more metrics at each validation.
        reporters: Hear of steps and metrics.
        quarantine: Takes the pairs that cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        world: World,
        evaluate: Evaluate | None,
        reporters: Sequence[Reporter],
        quarantine: Quarantine,
    ) -> None:
        self.config = config
        self.world = world
        self.evaluate = evaluate
        self.reporters = reporters
        self.quarantine = quarantine
        self.checkpoints = Checkpoints(config.output / CHECKPOINTS, keep=config.checkpoint.keep)
        torch.manual_seed(config.seed)
        model = build_model(config.model, trust_code=True)  # the user's own recipe names it
        self.tokenizer = build_tokenizer(config.model)
        self.transform = Transform(transform_config(config.data, model.backbone))
        self.data = RunBuilder(
            config,
            model,
            self.tokenizer,
            self.transform,
            world=world,
            on_skip=quarantine.add,
        ).build()
        state = self._restored()
        self.step: int = state.get("step", 0)
        self.best: dict[str, Any] = state.get("best", {})
        self.metrics: dict[str, float] = state.get("metrics", {})
        self.ledger = Ledger.of_run(model, config)
        self.gflops: float = state.get("gflops", 0.0)
        if config.start is not None and not state:
            real = [part for part in self.data.batches.parts() if isinstance(part, Batches)]
            start(model.to(world.device).eval(), real, config.start, device=world.device)
        self.learner = Learner(
            model,
            config,
            world=world,
            lies_under=self.data.lies_under,
            state=state.get("learner"),
            source=self.checkpoints.path(self.step),
        )
        self.writer = CheckpointWriter(self.checkpoints, world)
        self._unread: list[tuple[StepRecord, Tensor, Tensor]] = []
        self._patience = 1 if world.device.type == "cpu" else _UNREAD_STEPS

    def run(self) -> Run:
        """Train to the last step; see ``Trainer.fit``."""
        try:
            for reporter in self.reporters:
                reporter.started(self.step, self.config.steps, self.config.batch_size)
            self._train()
            self.writer.wait()
        finally:
            self.writer.close()
            for reporter in self.reporters:
                reporter.closed()
        best, last = self.config.output / "model", self.checkpoints.path(self.step)
        return Run(
            path=self.config.output,
            steps=self.step,
            best=Snapshot(self.best["step"], best, self.best["metrics"]),
            last=Snapshot(self.step, last, self.metrics),
        )

    def _train(self) -> None:
        steps, data = self.config.steps, self.config.data
        batches = self.data.batches.steps(
            self.step,
            steps,
            num_workers=0 if data.is_cached else data.num_workers,
            timeout=data.timeout,
        )
        with StopRequest() as stop:
            for micro_batches in batches:
                if self._set_apart(micro_batches):
                    self._update(micro_batches)
                self.step += 1
                stopped = self.world.collect([stop.name] if stop.name else [])
                self._after_step(is_last=bool(stopped) or self.step == steps)
                if stopped and self.step < steps:
                    self.writer.wait()
                    raise DinotxtError(
                        f"stopped by {stopped[0]} after step {self.step}, which is saved: run the "
                        "same command to go on."
                    )

    def _set_apart(self, batches: Sequence[Batch]) -> bool:
        """Write down the pairs that could not be used; tell if any pair of the step is left.

        Raises:
            DataError: If too many pairs were lost so far.
        """
        skips = self.world.collect([skip for batch in batches for skip in batch.skipped])
        for skip in skips:
            self.quarantine.add(skip)
        expected = self.data.batches.num_expected(self.step)
        self.quarantine.check(expected, self.config.data.max_skipped)
        return len(skips) < self.config.batch_size

    def _update(self, batches: Sequence[Batch]) -> None:
        """Take a step, whose loss is read later."""
        loss, lr = self.learner.update(self.step, batches)
        self.gflops += self.ledger.batches(batches, num_ranks=self.world.size)
        scale = self.learner.model.logit_scale.detach().exp()
        record = StepRecord(self.step + 1, math.nan, lr, math.nan, self.gflops)
        self._unread.append((record, loss, scale))

    def _after_step(self, *, is_last: bool) -> None:
        config = self.config
        evaluates = self.step == config.steps or self.step % config.evaluate.every == 0
        saves = is_last or self.step % config.checkpoint.every == 0
        if evaluates or saves or len(self._unread) >= self._patience:
            self._report()
        if evaluates:
            self._evaluate()
        if saves:
            self._save()

    def _report(self) -> None:
        """Read the losses of the last steps and tell the reporters."""
        records = [
            replace(record, loss=loss.item(), logit_scale=scale.item())
            for record, loss, scale in self._unread
        ]
        self._unread.clear()
        finite = [record for record in records if math.isfinite(record.loss)]
        for reporter in self.reporters:
            reporter.stepped(finite)
        for record in records:
            if not math.isfinite(record.loss):
                raise self._diverged(record.step, f"the loss of step {record.step} is not finite")

    def _evaluate(self) -> None:
        """Measure the model and keep it in ``model/`` where it is the best so far."""
        with self.learner.averaged() as model:
            metrics = self.data.validation(model) if self.data.validation else {}
            if self.evaluate is not None:
                evaluate = self.evaluate
                metrics |= self.world.first(lambda: dict(evaluate(model)))
            scores = [metrics[name] for name in _SCORES if name in metrics]
            score = sum(scores) / len(scores) if scores else None
            if score is None or score > self.best.get("score", -1.0):
                self.best = {"step": self.step, "score": score or 0.0, "metrics": metrics}
                self.world.first(lambda: self._save_model(model))
        self.metrics = metrics
        for reporter in self.reporters:
            reporter.evaluated(self.step, metrics)

    def _save_model(self, model: DinoTxt) -> None:
        folder = self.config.output / "model"
        try:
            save_model(
                model,
                folder,
                config=self.config.model,
                tokenizer=self.tokenizer,
                transform=self.transform.config,
                dtype=getattr(torch, self.config.checkpoint.model_dtype),
                extra={
                    "step": self.step,
                    "metrics": self.best["metrics"],
                    "inference": asdict(self.config.inference),
                },
            )
        except OSError as error:
            raise CheckpointError(
                f"the model of step {self.step} was not written ({error}); what was saved before "
                "is still valid. Free space and run the same command."
            ) from error

    def _save(self) -> None:
        if not self.learner.is_finite():
            raise self._diverged(self.step, f"the weights after step {self.step} are not finite")
        self.writer.save(
            self.step,
            {
                "step": self.step,
                "best": self.best,
                "metrics": self.metrics,
                "gflops": self.gflops,
                "data": self.data.fingerprint,
                "learner": self.learner.state_dict(),
            },
        )

    def _restored(self) -> dict[str, Any]:
        state = self.checkpoints.load() or {}
        if state and state["data"] != self.data.fingerprint:
            raise DataError(
                f"{self.config.output} began with other pairs than data.train holds now: put them "
                "back or choose another `output`."
            )
        if state and self.world.is_first:
            for source in self.config.data.sources:
                if source.cache is not None:
                    FeatureStore.open(source.cache).verify()
        return state

    def _diverged(self, step: int, what: str) -> DinotxtError:
        names = ", ".join(self.data.batches.names(step - 1)[:8])
        self.writer.wait()
        saved = self.checkpoints.steps()
        kept = f"step {saved[-1]} is the last good checkpoint" if saved else "nothing was saved yet"
        return DinotxtError(
            f"{what} (its batch begins with {names}); {kept}. Lower optim.lr, set "
            "optim.clip_norm or look at the data, with another `output`."
        )
