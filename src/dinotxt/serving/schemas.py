"""The answers of the API, with the examples that its OpenAPI description shows."""

from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorDetail(_Answer):
    """What went wrong."""

    status: int = Field(description="The HTTP status.", examples=[422])
    code: str = Field(description="For programs.", examples=["unusable"])
    message: str = Field(
        description="For people; names the fix.", examples=["labels: give at least one label."]
    )


class ErrorAnswer(_Answer):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class LabelScore(_Answer):
    """A label and how well it fits the whole picture."""

    label: str = Field(examples=["red panda"])
    probability: float = Field(description="Its share among the given labels.", examples=[0.93])
    similarity: float = Field(description="The cosine with the picture.", examples=[0.28])


class ClassifyAnswer(_Answer):
    """The labels of a picture, the best first."""

    model: str = Field(examples=["lite"])
    labels: list[LabelScore]


class Region(_Answer):
    """What a label covers of the picture."""

    label: str = Field(examples=["road"])
    colour: str = Field(description="In overlay and PNG.", examples=["#2e86de"])
    area: float = Field(description="The fraction of the picture, from 0 to 1.", examples=[0.41])
    counts: list[int] | None = Field(
        None,
        description=(
            "With `output=rle`: run lengths of the mask, column by column, outside and inside in "
            "turn, outside first (COCO's uncompressed RLE)."
        ),
        examples=[[10, 5, 1]],
    )


class SegmentAnswer(_Answer):
    """Which label every pixel has."""

    model: str = Field(examples=["lite"])
    mode: str = Field(examples=["window"])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])
    labels: list[Region]
    label_map: str | None = Field(
        None,
        description=(
            "With `output=json`: the label map as PNG in base64. A pixel holds the position of "
            "its label, 255 (65535 from 256 labels) if it has none."
        ),
        examples=["iVBORw0KGgo="],
    )


class EmbedAnswer(_Answer):
    """Features of length 1, in the order of the request; products are cosines."""

    model: str = Field(examples=["lite"])
    dim: int = Field(examples=[3])
    embeddings: list[list[float]] = Field(examples=[[[0.6, 0.0, 0.8]]])


class SearchHit(_Answer):
    """A picture of the index."""

    score: float = Field(description="The cosine with the query.", examples=[0.31])
    path: str = Field(description="Within the indexed folder.", examples=["2024/beach.jpg"])
    picture: str = Field(
        description="Where a small copy is; `side` sets the long side in pixels.",
        examples=["/v1/pictures/c2lnbmVk"],
    )


class SearchAnswer(_Answer):
    """The pictures that fit best, the best first."""

    model: str = Field(examples=["lite"])
    hits: list[SearchHit]


class IndexInfo(_Answer):
    """What can be searched."""

    name: str = Field(examples=["album"])
    num_pictures: int = Field(examples=[1200])
    engine: str = Field(description="exact, hnsw, ivf-pq or pgvector.", examples=["exact"])


class InfoAnswer(_Answer):
    """What this server is and can do."""

    name: Literal["dinotxt"] = "dinotxt"
    version: str = Field(examples=["0.1.0"])
    model: str = Field(examples=["lite"])
    dim: int = Field(examples=[3])
    modes: list[str] = Field(description="For /v1/segment.", examples=[["whole", "window"]])
    templates: list[str] = Field(description="Named sets.", examples=[["openai-7", "simple"]])
    default_templates: str = Field(examples=["openai-80"])
    limits: dict[str, float] = Field(examples=[{"max_labels": 200}])
    index: IndexInfo | None = Field(None, description="Absent where there is none.")


class HealthAnswer(_Answer):
    """That the server runs."""

    status: Literal["ok"] = "ok"
    model: str = Field(examples=["lite"])


class TextsRequest(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["a dog", "a red bicycle"]}]}
    )
    texts: list[str] = Field(min_length=1, description="Taken as they are, without templates.")


def answer(content: BaseModel) -> Response:
    """Return an answer as JSON; fields that are None are left out."""
    body = content.model_dump_json(exclude_none=True)
    return Response(body, media_type="application/json")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route; those that every route may give are added."""
    texts = {
        400: "The request is malformed.",
        401: "The bearer token is missing or wrong.",
        403: "The request comes from another web site.",
        404: "There is no such thing.",
        408: "The client was too slow.",
        413: "Too many bytes or pixels.",
        421: "The server does not go by this host name.",
        422: "A field or a picture cannot be used.",
        429: "Too many requests wait.",
        500: "The server made a mistake.",
        503: "The server is busy or stops.",
        504: "The work took too long.",
    }
    every = (400, 401, 403, 408, 413, 421, 422, 500, 503, 504)
    return {
        status: {"model": ErrorAnswer, "description": texts[status]}
        for status in sorted({*every, *statuses})
    }
