from collections.abc import Callable
from pathlib import Path

import pytest

from dinotxt.training.config import TrainConfig


@pytest.fixture
def config(tiny_run: Path) -> Callable[..., TrainConfig]:
    """Build the configuration of the tiny run, with overrides."""

    def make(*overrides: str) -> TrainConfig:
        return TrainConfig.from_yaml(tiny_run, *overrides)

    return make
