"""A thousand malformed requests, made from the server's own description."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import hypothesis.errors
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from dinotxt.inference.encoder import Encoder
from dinotxt.serving.app import create_app
from dinotxt.serving.config import ServeConfig

pytestmark = pytest.mark.slow

load_all_checks()
_CHECKS = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "unsupported_method",
    ]
)
_SETTINGS = settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def address(colour_encoder: Encoder) -> Iterator[str]:
    app = create_app(colour_encoder, ServeConfig(batch_wait=0))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def test_a_thousand_malformed_requests_are_answered_as_described(address: str) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    answers: Counter[int] = Counter()

    def ask(case: Any) -> None:
        answer = case.call()
        answers[answer.status_code] += 1
        case.validate_response(answer, checks=_CHECKS)

    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    for operation in operations:
        for mode in (schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE):
            with suppress(hypothesis.errors.Unsatisfiable):  # nothing to send wrongly
                test: Any = given(operation.as_strategy(generation_mode=mode))
                _SETTINGS(test(ask))()
    refused = sum(count for status, count in answers.items() if 400 <= status < 500)
    assert refused >= 1000, answers
    assert not any(status >= 500 for status in answers), answers
    assert httpx2.get(f"{address}/healthz").status_code == 200
