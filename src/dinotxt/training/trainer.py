"""The trainer: the public face of a run."""

from collections.abc import Callable, Sequence

import torch

from dinotxt.inference.torch_towers import find_device
from dinotxt.results.skip import Skip
from dinotxt.training.config import TrainConfig
from dinotxt.training.log import MetricsLog, Reporter, TensorBoardLog
from dinotxt.training.loop import Evaluate, Loop
from dinotxt.training.quarantine import Quarantine
from dinotxt.training.run import Run
from dinotxt.training.state import claim


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
        on_skip: Callable[[Skip], None] | None = None,
    ) -> Run:
        """Train to the last step, or go on where an earlier call ended.

        Args:
            reporters: Hear of steps and metrics, besides ``metrics.jsonl`` and TensorBoard.
            on_skip: Hears of pairs that cannot be used; ``skipped.jsonl`` lists them as well.

        Raises:
            ConfigError: If the output folder holds a run of another configuration.
            DataError: If the data cannot be used or are not those the run began with.
            CheckpointError: If a checkpoint cannot be written or read.
            DinotxtError: If the loss is not finite, or a signal stopped the run.
        """
        output = self.config.output
        claim(output, self.config)
        logs: list[Reporter] = [MetricsLog(output / "metrics.jsonl")]
        if TensorBoardLog.available():
            logs.append(TensorBoardLog(output / "tensorboard"))
        with torch.random.fork_rng():
            loop = Loop(
                self.config,
                device=self.device,
                evaluate=self.evaluate,
                reporters=[*logs, *reporters],
                quarantine=Quarantine(output / "skipped.jsonl", on_skip),
            )
            return loop.run()
