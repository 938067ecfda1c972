"""The fields that routes share, and what they may hold: pictures, labels, templates, texts."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, File, Form, Request, UploadFile

from dinotxt.serving.config import RequestLimits
from dinotxt.serving.engine import Engine
from dinotxt.serving.errors import ApiError
from dinotxt.serving.observe import Metrics
from dinotxt.text.prompt import template_sets, templates

# Dependencies are coroutines: FastAPI runs plain functions on a pool of forty threads.


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


TheMetrics = Annotated[Metrics, Depends(_metrics)]
TheEngine = Annotated[Engine, Depends(_engine)]
Image = Annotated[
    UploadFile,
    File(description="A JPEG, PNG, WebP, GIF, BMP or TIFF file; an address is not fetched."),
]
Labels = Annotated[
    list[str],
    Form(
        description="Labels, several between commas or in repeated fields; `a | b` are synonyms.",
        examples=[["cat, dog, red panda"]],
    ),
]
Templates = Annotated[
    str,
    Form(
        description="A named set of prompt templates, or one with `{}` for the label.",
        examples=["a photo of a {}."],
    ),
]


def parse_labels(fields: Sequence[str], limits: RequestLimits) -> list[str]:
    """Return the labels of form fields, each of which may hold several between commas.

    Raises:
        ApiError: 422 if there are none or too many, or one is empty, too long or repeated.
    """
    labels = [label.strip() for field in fields for label in field.split(",")]
    if not any(labels):
        raise ApiError(422, "labels: give at least one label.")
    if len(labels) > limits.max_labels:
        raise ApiError(
            422, f"labels: {len(labels)} are too many, give {limits.max_labels} at most."
        )
    seen: set[str] = set()
    for position, label in enumerate(labels, start=1):
        if not all(part.strip() for part in label.split("|")):
            raise ApiError(422, f"labels: number {position} is empty, remove it or fill it in.")
        if label in seen:
            raise ApiError(422, f"labels: {label!r} is there twice, remove one.")
        seen.add(label)
    check_texts(labels, limits, "labels")
    return labels


def check_texts(texts: Sequence[str], limits: RequestLimits, field: str) -> None:
    """Refuse a text that is too long or not valid Unicode.

    Raises:
        ApiError: 422, with the position of the text.
    """
    for position, text in enumerate(texts, start=1):
        if len(text) > limits.max_characters:
            message = (
                f"{field}: number {position} has more than {limits.max_characters} characters."
            )
            raise ApiError(422, message)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ApiError(422, f"{field}: number {position} is not valid Unicode.")


def parse_templates(source: str, limits: RequestLimits) -> tuple[str, ...]:
    """Return the prompt templates of a set's name, or of one template with ``{}``.

    A file is never read: the text comes from a client.

    Raises:
        ApiError: 422 if it is neither.
    """
    check_texts([source], limits, "templates")
    if source in template_sets() or "{}" in source:
        return templates(source)
    known = ", ".join(template_sets())
    raise ApiError(422, f"templates: give one of {known}, or a text with {{}} for the label.")


def check_search(words: str, has_image: bool, num_hits: int, limits: RequestLimits) -> None:
    """Refuse a search without words and picture, with both, or for too many hits.

    Raises:
        ApiError: 422.
    """
    if bool(words.strip()) == has_image:
        raise ApiError(422, "Search by words or by a picture: send one of `text` and `image`.")
    if not 1 <= num_hits <= limits.max_hits:
        raise ApiError(422, f"k: give a number from 1 to {limits.max_hits}.")
    check_texts([words], limits, "text")
