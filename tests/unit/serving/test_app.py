import inspect
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from dinotxt.serving.routes import predict, search, system


def _calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for one in dependant.dependencies:
        yield from _calls(one)


def test_no_request_is_sent_through_fastapis_pool_of_forty_threads() -> None:
    routers = [one.router for one in (predict, search, system)]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 8
    plain = [
        call
        for route in routes
        for call in _calls(route.dependant)
        if not inspect.iscoroutinefunction(call)
    ]
    assert plain == []
