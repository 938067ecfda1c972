"""What the server is, whether it runs, and what it counts."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from dinotxt import __version__
from dinotxt.inference.dense import MODES
from dinotxt.serving.metrics import CONTENT_TYPE
from dinotxt.serving.routes.fields import TheEngine, TheMetrics
from dinotxt.serving.schemas import HealthAnswer, InfoAnswer, answer, refusals
from dinotxt.text.prompt import template_sets

router = APIRouter(tags=["system"])


@router.get("/healthz", response_model=HealthAnswer, responses=refusals())
async def healthz(engine: TheEngine) -> Response:
    """Tell that the server runs."""
    return answer(HealthAnswer(model=engine.model))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **refusals()},
)
async def metrics(counters: TheMetrics) -> Response:
    """Return what the server counts, for Prometheus."""
    return Response(counters.render(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/v1/info", response_model=InfoAnswer, responses=refusals())
async def info(engine: TheEngine) -> Response:
    """Tell what this server can do and what it refuses."""
    found = await engine.on_thread(engine.index_info)
    return answer(
        InfoAnswer(
            version=__version__,
            model=engine.model,
            dim=engine.encoder.embed_dim,
            modes=list(MODES),
            templates=list(template_sets()),
            default_templates=engine.default_templates,
            index=found,
            limits=asdict(engine.config.limits),
        )
    )
