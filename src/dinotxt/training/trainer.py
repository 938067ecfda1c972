"""The trainer: the public face of a run."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from dinotxt.errors import CheckpointError
from dinotxt.inference.engines.torch_towers import find_device
from dinotxt.results.skip import OnSkip
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed import joined
from dinotxt.training.loop import Evaluate, Loop, Run
from dinotxt.training.record import (
    SKIPPED,
    MetricsLog,
    Quarantine,
    Reporter,
    TensorBoardLog,
    claimed,
)
from dinotxt.training.setup import check_places

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Trainer:
    """Trains a model as a configuration says.

    Args:
        config: What to do. Its ``output`` folder may hold the same run, killed at any moment:
            then ``fit`` goes on with it and ends with the same weights.
        evaluate: Gives more metrics of the model at each validation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(
        self, config: TrainConfig, evaluate: Evaluate | None = None, *, device: str = "auto"
    ) -> None:
        self.config = config
        self.evaluate = evaluate
        self.device = find_device(device)

    def fit(
        self,
        *,
        reporters: Sequence[Reporter] = (),
        on_skip: OnSkip | None = None,
    ) -> Run:
        """Train to the last step, or go on where an earlier call ended.

        Under ``torchrun`` every process calls this; the first one writes and reports.

        Args:
            reporters: Hear of steps and metrics, besides ``metrics.jsonl`` and TensorBoard.
            on_skip: Hears of pairs that cannot be used; ``skipped.jsonl`` lists them as well.

        Raises:
            ConfigError: If the output folder holds a run of another configuration.
            DataError: If the data cannot be used or are not those the run began with, or the
                output folder holds other files or is being written.
            CheckpointError: If a checkpoint cannot be written or read.
            BackendError: If another process of the run is gone.
            DinotxtError: If the loss is not finite, or a signal stopped the run.
        """
        check_places(self.config)
        output = self.config.output
        with _full_disk_told(output), joined(self.device) as world, torch.random.fork_rng():
            is_first = world.is_first
            with ExitStack() as held:
                world.first(lambda: held.enter_context(claimed(output, self.config)))
                quarantine = Quarantine(output / SKIPPED, on_skip, is_silent=not is_first)
                loop = Loop(
                    self.config,
                    world=world,
                    evaluate=self.evaluate,
                    reporters=[*_logs(output), *reporters] if is_first else [],
                    quarantine=quarantine,
                )
                return loop.run()


@contextmanager
def _full_disk_told(output: Path) -> Iterator[None]:
    """Turn the error of a disk that takes no more, such as for a log, into one with its fix."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CheckpointError(
            f"{output} cannot be written ({error}); what was saved before is still valid. Free "
            "space and run the same command."
        ) from error


def _logs(output: Path) -> list[Reporter]:
    logs: list[Reporter] = [MetricsLog(output / "metrics.jsonl")]
    if TensorBoardLog.available():
        logs.append(TensorBoardLog(output / "tensorboard"))
    return logs
