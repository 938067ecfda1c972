from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dinotxt.evaluation.job import Job, Options
from dinotxt.inference.encoder import Encoder


@pytest.fixture
def make_job(colour_encoder: Encoder) -> Callable[..., Job]:
    """A job on a data set with one plain prompt."""

    def make(data: Path, **settings: Any) -> Job:
        options = Options(**{"templates": "{}", **settings})
        return Job(task="segmentation", encoder=colour_encoder, data=str(data), options=options)

    return make
