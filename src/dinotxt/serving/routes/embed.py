"""``/v1/embed``: features of pictures and texts."""

from typing import Annotated

from fastapi import APIRouter, File, Response, UploadFile

from dinotxt.inference.features import Features
from dinotxt.serving.engine import Engine
from dinotxt.serving.errors import ApiError
from dinotxt.serving.routes.fields import TheEngine
from dinotxt.serving.schemas import EmbedAnswer, TextsRequest, answer, refusals
from dinotxt.serving.vocabulary import check_texts

router = APIRouter(prefix="/v1/embed", tags=["embed"])


@router.post("/images", response_model=EmbedAnswer, responses=refusals(429))
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


@router.post("/texts", response_model=EmbedAnswer, responses=refusals(429))
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
