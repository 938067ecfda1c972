"""``/v1/search``: pictures of the index, by words or by a picture."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile

from dinotxt.errors import DataError
from dinotxt.results.hit import Hit
from dinotxt.search.where import Filter
from dinotxt.serving.engine import Engine
from dinotxt.serving.errors import ApiError
from dinotxt.serving.routes.fields import TheEngine, check_search, check_texts
from dinotxt.serving.schemas import SearchAnswer, SearchHit, answer, refusals

router = APIRouter(prefix="/v1", tags=["search"])


@router.post("/search", response_model=SearchAnswer, responses=refusals(404, 429))
async def search(
    engine: TheEngine,
    text: Annotated[
        str, Form(description="What the pictures should show.", examples=["a red bicycle"])
    ] = "",
    image: Annotated[
        UploadFile | None, File(description="Or a picture that they should resemble.")
    ] = None,
    k: Annotated[int, Form(description="How many.", examples=[12])] = 12,
    folder: Annotated[
        str, Form(description="Only in this folder of the index.", examples=["2024"])
    ] = "",
    since: Annotated[
        str, Form(description="Only from YYYY, YYYY-MM or YYYY-MM-DD on.", examples=["2020-06"])
    ] = "",
    until: Annotated[str, Form(description="Only up to this date.", examples=["2026"])] = "",
) -> Response:
    """Find the pictures of the index that fit words, or a picture, best."""
    check_search(text, image is not None, k, engine.config.limits)
    check_texts([folder], engine.config.limits, "folder")
    engine.require_index()
    where = Filter.parse([folder] if folder.strip() else [], since, until)
    if image is None:
        query = await engine.embed.texts([text])
    else:
        query = await engine.embed.images([await image.read()])
    hits = [_hit(engine, hit) for hit in await engine.search(query, k, where)]
    return answer(SearchAnswer(model=engine.model, hits=hits))


@router.get(
    "/pictures/{name}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **refusals(404)},
)
async def picture(
    engine: TheEngine,
    name: Annotated[str, Path(description="The last part of a hit's `picture`.")],
    side: Annotated[int, Query(ge=16, le=2048, description="Of the long side, in pixels.")] = 320,
) -> Response:
    """Return a small copy of a picture that a search found; no other file can be named."""
    try:
        content = await engine.thumbnail(name, side)
    except DataError:
        raise ApiError(404, "The picture cannot be read any more: update the index.") from None
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(content, media_type="image/jpeg", headers=headers)


def _hit(engine: Engine, hit: Hit) -> SearchHit:
    return SearchHit(
        score=hit.score,
        path=engine.require_index().shown(hit.path),
        picture=f"/v1/pictures/{engine.links.sign(hit.path)}",
    )
