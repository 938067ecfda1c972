"""What an evaluation may be told, and the part of a data set that it uses."""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from dinotxt.errors import ConfigError
from dinotxt.evaluation.protocols import Protocol, protocol_mode
from dinotxt.inference.dense import Mode, Upsample
from dinotxt.models.config import Embedding

Task = Literal["classification", "retrieval", "segmentation"]
ModeName = Literal["whole", "window", "highres"]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of an evaluation; what stays None is chosen for the model and the data.

    Attributes:
        classes: Class names: a list that comes with dinotxt (``imagenet``, ``ade20k:full``), a
            variant that comes with the data (``full``, ``common``), a file with one a line, or a
            sequence (``a | b`` are synonyms); None takes those of the data.
        templates: Prompt templates: a set's name, a file, one template, or several.
        mode: How a picture is looked at for segmentation: ``whole``, ``window``,
            ``highres``, or a mode such as ``SlidingWindow(448, 224)``; None takes the model's own.
        protocol: A published segmentation protocol, ``tcl`` or ``dinov3``; see
            ``dinotxt.evaluation.protocols``.
        embedding: What stands for a patch in segmentation (paper, Table 8); None: the model's own.
        size: Side of the model's input in pixels; for windows, their side.
        stride: Distance between windows in pixels; None is half their side.
        crops: The budget of the mode ``highres``; None is 800.
        upsample: What segmentation enlarges to pixels: ``logits`` or ``features``.
        background: The cosine below which a pixel stays unlabelled; None labels every pixel.
        refine: ``pamr`` moves the scores of segmentation to neighbours of like colour.
        trim_border: Pixels to cut off on each side of ObjectNet's pictures (a red border).
        resume: A folder where what is done is kept; the same evaluation goes on with it.
        every: Only every n-th picture of the data, in order.
        limit: At most so many pictures.
        batch_size: Pictures (or windows) a forward pass; None is 32 (or 8).
        num_workers: Threads that decode pictures; None chooses by the machine.
    """

    classes: str | Path | Sequence[str] | None = None
    templates: str | Path | Sequence[str] | None = None
    mode: ModeName | Mode | None = None
    protocol: Protocol | None = None
    size: int | None = None
    stride: int | None = None
    crops: int | None = None
    upsample: Upsample = "logits"
    background: float | None = None
    refine: Literal["pamr"] | None = None
    embedding: Embedding | None = None
    trim_border: int = 0
    resume: str | Path | None = None
    every: int = 1
    limit: int | None = None
    batch_size: int | None = None
    num_workers: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: If one makes no sense or two contradict each other.
        """
        for name in ("every", "limit", "size", "stride", "crops", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}: give at least 1.")
        if self.trim_border < 0:
            raise ConfigError(f"trim_border is {self.trim_border}: give 0 or more pixels.")
        if self.protocol is not None:
            self._check_protocol(self.protocol)

    def _check_protocol(self, protocol: Protocol) -> None:
        if protocol not in get_args(Protocol):
            raise ConfigError(f"protocol is {protocol!r}: give {_either(Protocol)}.")
        if any(value is not None for value in (self.size, self.stride, self.crops)):
            raise ConfigError("The protocol fixes size and stride: leave them out.")
        protocol_mode(protocol, self.mode)

    def take(self, items: Sequence[Item]) -> list[Item]:
        """Return the part of a sorted data set that is used: every n-th, up to the limit."""
        return list(islice(items, 0, None, self.every))[: self.limit]


def parse_options(given: dict[str, Any]) -> Options:
    """Make options of keyword arguments.

    Raises:
        ConfigError: If a name is unknown (the nearest one is named) or a value makes no sense.
    """
    known = [field.name for field in dataclasses.fields(Options)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
            raise ConfigError(f"evaluate has no option {name!r}: {hint}")
    return Options(**given)


def _either(choice: Any) -> str:
    return " or ".join(get_args(choice))
