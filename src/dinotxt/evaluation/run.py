"""The entry point of every evaluation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from dinotxt.data.pictures import Transform
from dinotxt.errors import ConfigError
from dinotxt.evaluation.job import Job, Options, Task
from dinotxt.evaluation.segmentation import evaluate_segmentation
from dinotxt.evaluation.zero_shot import evaluate_classification, evaluate_retrieval
from dinotxt.inference.encoder import Encoder
from dinotxt.results.report import Report
from dinotxt.results.skip import OnSkip, Progress

_TASKS: dict[Task, Callable[[Job], Report]] = {
    "classification": evaluate_classification,
    "retrieval": evaluate_retrieval,
    "segmentation": evaluate_segmentation,
}
_OF_SEGMENTATION = ("mode", "protocol", "stride", "crops", "upsample", "background", "refine")
_OPTIONS_OF: dict[str, Task] = {
    **dict.fromkeys((*_OF_SEGMENTATION, "embedding"), "segmentation"),
    "trim_border": "classification",
}


def evaluate(
    encoder: Encoder,
    *,
    task: Task,
    data: str | Path,
    options: Options | None = None,
    on_skip: OnSkip | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Report:
    """Evaluate a model on a data set, without any training on it.

    Args:
        encoder: The model.
        task: ``classification``, ``retrieval`` or ``segmentation``.
        data: The data set: tars, a folder or a table, or ``NAME:FOLDER`` of a published one, such
            as ``ade20k:/data/ADEChallengeData2016`` (see the guide on evaluation).
        options: The settings, such as ``Options(classes="imagenet", every=6)``.
        on_skip: Told of every picture that cannot be used; None raises an error instead.
        progress: Called with (done, total) pictures.
        changes: Fields of ``Options`` by name, for a short call: ``limit=100``; they go before
            those of ``options``.

    Returns:
        Metrics from 0 to 1 with their 95% intervals, and every setting that was used.

    Raises:
        ConfigError: If the task or an option is unknown or makes no sense.
        DataError: If the data cannot be read, or no picture of them can be used.
    """
    if task not in _TASKS:
        raise ConfigError(f"There is no task {task!r}: give {', '.join(get_args(Task))}.")
    plain = Options()
    chosen = replace(options or plain, **changes)
    for name, one in _OPTIONS_OF.items():
        if task != one and getattr(chosen, name) != getattr(plain, name):
            raise ConfigError(f"{name} is an option of {one}, not of {task}.")
    if task == "retrieval" and (chosen.classes is not None or chosen.templates is not None):
        raise ConfigError("Retrieval compares captions: leave classes and templates out.")
    if task != "segmentation":
        encoder = _resized(encoder, chosen)
    job = Job(
        task=task,
        encoder=encoder,
        data=str(data),
        options=chosen,
        on_skip=on_skip,
        on_progress=progress,
    )
    return _TASKS[task](job)


def _resized(encoder: Encoder, options: Options) -> Encoder:
    """Return the encoder with the input size of the options."""
    if options.size is None:
        return encoder
    transform = Transform(replace(encoder.transform.config, size=options.size))
    return replace(encoder, transform=transform)
