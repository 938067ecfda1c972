"""``/v1/classify``: which label fits a picture."""

from fastapi import APIRouter, Response

from dinotxt.serving.routes.fields import Image, Labels, Templates, TheEngine
from dinotxt.serving.schemas import ClassifyAnswer, LabelScore, answer, refusals
from dinotxt.serving.vocabulary import parse_labels, parse_templates

router = APIRouter(prefix="/v1", tags=["predict"])


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
