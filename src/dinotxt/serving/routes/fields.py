"""The form fields that several routes share."""

from typing import Annotated

from fastapi import Depends, File, Form, Request, UploadFile

from dinotxt.serving.engine import Engine
from dinotxt.serving.metrics import Metrics

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
