"""What a model is best used with, where the user says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from dinotxt.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceDefaults:
    """The settings that a model's authors recommend; they are saved beside its weights.

    Attributes:
        size: Side of the square input for classification and retrieval; None: that of training.
        max_enlarge: Smaller pictures are enlarged at most so many times, so that a thumbnail
            becomes a smaller input instead of a blur; None: always to the full size. Only for
            backbones that take inputs of any size.
        templates: Prompt templates of labels.
        mode: How a picture is looked at for segmentation.
        short_side: Short side of a picture that is segmented; None: the model's size for a whole
            picture, the window's side for windows.
        window: Side of a window.
        stride: Distance between windows.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    size: int | None = None
    max_enlarge: float | None = None
    templates: str = "openai-80"
    mode: Literal["whole", "window"] = "whole"
    short_side: int | None = None
    window: int = 448
    stride: int = 224


def read_defaults(saved: Mapping[str, Any]) -> InferenceDefaults:
    """Return the defaults that a model folder holds, or the general ones.

    Raises:
        CheckpointError: If what is saved does not fit.
    """
    try:
        return TypeAdapter(InferenceDefaults).validate_python(saved.get("inference", {}))
    except ValidationError as error:
        message = f"The model's inference settings are damaged ({error.error_count()} errors)"
        raise CheckpointError(f"{message}: restore its config.json.") from None
