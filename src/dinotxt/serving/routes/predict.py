"""What the model says of pictures and texts: ``/v1/classify``, ``/v1/segment``, ``/v1/embed``."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Response, UploadFile
from fastapi.responses import StreamingResponse

from dinotxt.inference.dense import MODES, Mode, find_mode
from dinotxt.inference.features import Features
from dinotxt.results.segmentation import Segmentation
from dinotxt.results.skip import Progress
from dinotxt.serving.engine import Engine
from dinotxt.serving.errors import ApiError
from dinotxt.serving.pictures import hex_colours, label_map_png, run_lengths, to_png
from dinotxt.serving.progress import ProgressStream
from dinotxt.serving.routes.fields import (
    Image,
    Labels,
    Templates,
    TheEngine,
    check_texts,
    parse_labels,
    parse_templates,
)
from dinotxt.serving.schemas import (
    ClassifyAnswer,
    EmbedAnswer,
    LabelScore,
    Region,
    SegmentAnswer,
    TextsRequest,
    answer,
    refusals,
)

router = APIRouter(prefix="/v1", tags=["predict"])

_MAX_CROPS = 800  # the number of the paper
_LINES = "application/x-ndjson"
_OTHER_FORMS = {"image/png": {"schema": {"type": "string", "format": "binary"}}, _LINES: {}}

Output = Annotated[
    Literal["json", "rle", "png", "overlay"],
    Form(description="JSON with the map as PNG, JSON with RLE, a PNG map, or a drawn overlay."),
]


@router.post("/classify", response_model=ClassifyAnswer, responses=refusals(429))
async def classify(
    engine: TheEngine, image: Image, labels: Labels, templates: Templates = ""
) -> Response:
    """Tell which of some labels fits a picture best."""
    limits = engine.config.limits
    names = parse_labels(labels, limits)
    patterns = parse_templates(templates or engine.default_templates, limits)
    result = await engine.classify(await image.read(), names, patterns)
    return answer(
        ClassifyAnswer(
            model=engine.model,
            labels=[LabelScore(**label._asdict()) for label in result.labels],
        )
    )


@dataclass(frozen=True, slots=True)
class Look:
    """A mode and what it is called."""

    name: str
    mode: Mode


async def chosen_look(
    engine: TheEngine,
    mode: Annotated[str, Form(description="One of `modes` in /v1/info.")] = "whole",
    crops: Annotated[
        int, Form(ge=1, le=_MAX_CROPS, description="How many views the mode `highres` takes.")
    ] = 100,
) -> Look:
    """Return the mode that the form asks for, as the model likes it.

    Raises:
        ApiError: 422 if there is no such mode.
    """
    if mode not in MODES:
        raise ApiError(422, f"mode: give one of {', '.join(MODES)}.")
    budget = crops if mode == "highres" else None
    return Look(mode, find_mode(mode, engine.encoder.defaults, crops=budget))


@router.post(
    "/segment",
    response_model=SegmentAnswer,
    responses={200: {"content": _OTHER_FORMS}, **refusals(429)},
)
async def segment(
    engine: TheEngine,
    image: Image,
    labels: Labels,
    look: Annotated[Look, Depends(chosen_look)],
    templates: Templates = "",
    output: Output = "json",
    opacity: Annotated[float, Form(ge=0, le=1, description="Of the overlay.")] = 0.5,
    stream: Annotated[
        bool, Form(description="With json or rle: lines of `progress`, then one of `result`.")
    ] = False,
) -> Response:
    """Give every pixel of a picture the label that fits it best."""
    limits = engine.config.limits
    names = parse_labels(labels, limits)
    patterns = parse_templates(templates or engine.default_templates, limits)
    content = await image.read()

    async def work(on_progress: Progress) -> Segmentation:
        known = await engine.embed.labels(names, patterns)
        return await engine.segments.segment(content, known, look.mode, on_progress)

    async def render(result: Segmentation) -> str:
        content = await engine.on_thread(lambda: _content(engine.model, look.name, result, output))
        return content.model_dump_json(exclude_none=True)

    if output in {"png", "overlay"}:
        result = await work(lambda *_: None)
        chosen = opacity if output == "overlay" else None
        png = await engine.on_thread(lambda: _png(result, chosen))
        return Response(png, media_type="image/png")
    if stream:
        run = ProgressStream(work, render)
        await run.start()
        return StreamingResponse(run.lines(), media_type=_LINES)
    return Response(await render(await work(lambda *_: None)), media_type="application/json")


def _content(model: str, mode: str, result: Segmentation, output: str) -> SegmentAnswer:
    colours = hex_colours(len(result.labels))
    counts = list(run_lengths(result)) if output == "rle" else [None] * len(result.labels)
    areas = result.areas
    height, width = result.label_map.shape
    return SegmentAnswer(
        model=model,
        mode=mode,
        width=width,
        height=height,
        labels=[
            Region(label=label, colour=colour, area=areas[label], counts=runs)
            for label, colour, runs in zip(result.labels, colours, counts, strict=True)
        ],
        label_map=b64encode(label_map_png(result)).decode() if output == "json" else None,
    )


def _png(result: Segmentation, opacity: float | None) -> bytes:
    """Return the label map, or the picture under it at some opacity."""
    if opacity is None:
        return label_map_png(result)
    return to_png(result.overlay(opacity=opacity))


@router.post("/embed/images", response_model=EmbedAnswer, responses=refusals(429))
async def embed_images(
    engine: TheEngine,
    images: Annotated[list[UploadFile], File(description="Picture files, in repeated fields.")],
) -> Response:
    """Return one feature for each picture."""
    limit = engine.config.limits.max_images
    if len(images) > limit:
        raise ApiError(422, f"images: {len(images)} are too many, send {limit} at most.")
    features = await engine.embed.images([await image.read() for image in images])
    return await engine.on_thread(lambda: _embeddings(engine, features))


@router.post("/embed/texts", response_model=EmbedAnswer, responses=refusals(429))
async def embed_texts(engine: TheEngine, request: TextsRequest) -> Response:
    """Return one feature for each text."""
    limits = engine.config.limits
    if len(request.texts) > limits.max_texts:
        message = f"texts: {len(request.texts)} are too many, send {limits.max_texts} at most."
        raise ApiError(422, message)
    check_texts(request.texts, limits, "texts")
    features = await engine.embed.texts(request.texts)
    return await engine.on_thread(lambda: _embeddings(engine, features))


def _embeddings(engine: Engine, features: Features) -> Response:
    content = EmbedAnswer(model=engine.model, dim=features.shape[1], embeddings=features.tolist())
    return answer(content)
