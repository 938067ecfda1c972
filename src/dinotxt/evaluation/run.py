"""The entry point of every evaluation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from dinotxt.data.pictures import Transform
from dinotxt.errors import ConfigError
from dinotxt.evaluation.job import Job, Options, Task, parse_options
from dinotxt.evaluation.segmentation import evaluate_segmentation
from dinotxt.evaluation.zero_shot import evaluate_classification, evaluate_retrieval
from dinotxt.inference.encoder import Encoder
from dinotxt.results.report import Report
from dinotxt.results.skip import Skip

_TASKS: dict[Task, Callable[[Job], Report]] = {
    "classification": evaluate_classification,
    "retrieval": evaluate_retrieval,
    "segmentation": evaluate_segmentation,
}
_OPTIONS_OF: dict[str, tuple[Task, ...]] = {
    **dict.fromkeys(
        ("mode", "protocol", "stride", "crops", "upsample", "background", "refine", "embedding"),
        ("segmentation",),
    ),
    "trim_border": ("classification",),
}


def evaluate(
    encoder: Encoder,
    *,
    task: Task,
    data: str | Path,
    on_skip: Callable[[Skip], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Report:
    """Evaluate a model on a data set, without any training on it.

    Args:
        encoder: The model.
        task: ``classification``, ``retrieval`` or ``segmentation``.
        data: The data set: tars, a folder or a table, or ``NAME:FOLDER`` of a published one, such
            as ``ade20k:/data/ADEChallengeData2016`` (see the guide on evaluation).
        on_skip: Told of every picture that cannot be used; None raises an error instead.
        progress: Called with (done, total) pictures.
        options: The fields of ``dinotxt.evaluation.job.Options``, such as
            ``classes="imagenet"``, ``templates="openai-80"``, ``every=6`` or
            ``mode=SlidingWindow(448, 224)``.

    Returns:
        Metrics from 0 to 1 with their 95% intervals, and every setting that was used.

    Raises:
        ConfigError: If the task or an option is unknown or makes no sense.
        DataError: If the data cannot be read, or no picture of them can be used.
    """
    if task not in _TASKS:
        raise ConfigError(f"There is no task {task!r}: give {', '.join(get_args(Task))}.")
    parsed = parse_options(options)
    if task != "segmentation":
        encoder = _resized(encoder, parsed)
    for name, tasks in _OPTIONS_OF.items():
        if name in options and task not in tasks:
            raise ConfigError(f"{name} is an option of {' and '.join(tasks)}, not of {task}.")
    if task == "retrieval" and (parsed.classes is not None or parsed.templates is not None):
        raise ConfigError("Retrieval compares captions: leave classes and templates out.")
    job = Job(
        task=task,
        encoder=encoder,
        data=str(data),
        options=parsed,
        on_skip=on_skip,
        on_progress=progress,
    )
    return _TASKS[task](job)


def _resized(encoder: Encoder, options: Options) -> Encoder:
    """Return the encoder with the input size of the options."""
    if options.size is None:
        return encoder
    transform = Transform(replace(encoder.transform.config, size=options.size))
    return Encoder(encoder.towers, encoder.tokenizer, transform, encoder.name, encoder.defaults)
