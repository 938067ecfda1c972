import asyncio
import json

import pytest

from dinotxt.errors import DataError
from dinotxt.results.skip import Progress
from dinotxt.serving.errors import ApiError
from dinotxt.serving.progress import ProgressStream


async def _render(value: int) -> str:
    return json.dumps(value)


def test_progress_comes_before_the_result() -> None:
    async def work(report: Progress) -> int:
        for done in range(2):
            report(done, 2)
            await asyncio.sleep(0)
        return 7

    async def main() -> list[object]:
        stream = ProgressStream(work, _render)
        await stream.start()
        return [json.loads(line) async for line in stream.lines()]

    assert asyncio.run(main()) == [
        {"progress": {"done": 0, "total": 2}},
        {"progress": {"done": 1, "total": 2}},
        {"result": 7},
    ]


def test_work_without_progress_gives_the_result_alone() -> None:
    async def work(_: Progress) -> int:
        return 7

    async def main() -> list[str]:
        stream = ProgressStream(work, _render)
        await stream.start()
        return [line async for line in stream.lines()]

    assert asyncio.run(main()) == ['{"result": 7}\n']


def test_an_error_before_any_progress_is_raised() -> None:
    async def work(_: Progress) -> int:
        raise ApiError(413, "too large")

    async def main() -> None:
        await ProgressStream(work, _render).start()

    with pytest.raises(ApiError, match="too large"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "status"), [(ApiError(429, "wait"), 429), (DataError("damaged"), 422)]
)
def test_a_later_error_is_the_last_line(error: Exception, status: int) -> None:
    async def work(report: Progress) -> int:
        report(0, 2)
        await asyncio.sleep(0)
        raise error

    async def main() -> list[str]:
        stream = ProgressStream(work, _render)
        await stream.start()
        return [line async for line in stream.lines()]

    last = json.loads(asyncio.run(main())[-1])
    assert last["error"]["status"] == status


def test_a_client_that_goes_before_the_start_ends_the_work() -> None:
    async def main() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def work(_: Progress) -> int:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 0

        waiting = asyncio.create_task(ProgressStream(work, _render).start())
        await begun.wait()
        waiting.cancel()
        await asyncio.wait_for(ended.wait(), 60)

    asyncio.run(main())
