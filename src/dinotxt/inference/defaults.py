"""What a model is best used with, where the user says nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from dinotxt.config import configuration, load_config
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.text import prompt


@configuration
class InferenceDefaults:
    """The settings that a model's authors recommend; they are saved beside its weights.

    Attributes:
        size: Side of the square input for classification and retrieval; None: that of training.
        max_enlarge: Smaller pictures are enlarged at most so many times, so that a thumbnail
            becomes a smaller input instead of a blur; None: always to the full size. Only for
            backbones that take inputs of any size.
        thumbnail_scales: Multiples of the input's side at which these smaller inputs are seen,
            too; the features are averaged.
        templates: Prompt templates of labels.
        classify: What pictures and labels are compared by: the ``whole`` feature or its ``cls``
            half, as segmentation compares the other one.
        template_sets: Sets of templates that come with the model, by name; they go before those
            of the same name that ``text.prompt`` knows.
        mode: How a picture is looked at for segmentation.
        brightness: Darker pictures are brightened to this mean, between 0 and 1, before they are
            segmented; None: they are not.
        short_side: Short side of a picture that is segmented; None: the model's size for a whole
            picture, the window's side for windows.
        window: Side of a window.
        stride: Distance between windows.
        crop_size: Side of the squares that crops become in the mode ``highres`` with a budget.
        crop_areas: Shares of the picture's area that crops have, ascending.
        crop_shares: Weights of these areas in the number of crops.
        crop_clusters: Groups of k-means in the mode ``highres``; None: no k-means.
    """

    size: PositiveInt | None = None
    max_enlarge: Annotated[float, Field(ge=1)] | None = None
    thumbnail_scales: tuple[PositiveFloat, ...] = ()
    templates: str = "openai-80"
    classify: Literal["whole", "cls"] = "whole"
    template_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mode: Literal["whole", "window"] = "whole"
    brightness: Annotated[float, Field(gt=0, lt=1)] | None = None
    short_side: PositiveInt | None = None
    window: PositiveInt = 448
    stride: PositiveInt = 224
    crop_size: PositiveInt = 224
    crop_areas: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.01, 0.1, 1.0)
    crop_shares: tuple[NonNegativeFloat, ...] = (0.775, 0.2, 0.025)
    crop_clusters: PositiveInt | None = 32

    def find_templates(self, source: str | Path | Sequence[str] | None) -> tuple[str, ...]:
        """Return prompt templates: as ``prompt.templates``; None takes the model's own.

        Raises:
            ConfigError: If a template has no ``{}`` or a name is not known.
        """
        chosen = self.templates if source is None else source
        if isinstance(chosen, str) and chosen in self.template_sets:
            return self.template_sets[chosen]
        return prompt.templates(chosen)


def read_defaults(saved: Mapping[str, Any]) -> InferenceDefaults:
    """Return the defaults that a model folder holds, or the general ones.

    Raises:
        CheckpointError: If what is saved does not fit.
    """
    content = saved.get("inference", {})
    if not isinstance(content, Mapping):
        raise CheckpointError(
            "The model's inference settings are damaged: restore its config.json."
        )
    try:
        return load_config(InferenceDefaults, content)
    except ConfigError as error:
        message = f"The model's inference settings are damaged: restore its config.json.\n{error}"
        raise CheckpointError(message) from None
