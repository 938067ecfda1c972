import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotxt.inference.dense.window import SlidingWindow, Whole
from dinotxt.inference.encoder import Encoder
from dinotxt.serving.config import RequestLimits, ServeConfig
from dinotxt.serving.errors import ApiError
from dinotxt.serving.observe import Metrics
from dinotxt.serving.segmenting import SegmentQueue

LABELS = ["red", "blue"]


@pytest.fixture
def gate(colour_towers: Any, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds every dense forward pass until it is set."""
    event, encode = threading.Event(), colour_towers.encode_patches

    def wait(pixels: Any) -> Any:
        assert event.wait(60)
        return encode(pixels)

    monkeypatch.setattr(colour_towers, "encode_patches", wait)
    return event


def _queue(encoder: Encoder, **limits: Any) -> SegmentQueue:
    config = ServeConfig(limits=RequestLimits(**limits))
    return SegmentQueue(encoder, config, Metrics(), ThreadPoolExecutor(2))


def test_too_many_waiting_pictures_are_refused_and_the_others_done(
    colour_encoder: Encoder, pictures: dict[str, Path], gate: threading.Event
) -> None:
    content = pictures["half"].read_bytes()
    known = colour_encoder.encode_labels(LABELS, "simple")

    async def main() -> None:
        queue = _queue(colour_encoder, max_queue=1)
        tasks = [asyncio.create_task(queue.segment(content, known, Whole(None))) for _ in range(4)]
        await asyncio.sleep(0)
        gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, ApiError)]
        assert [one.status_code for one in refused] == [429]
        assert len(outcomes) - len(refused) == 3
        await queue.close()

    asyncio.run(main())


def test_work_for_a_client_that_has_gone_stops_at_the_next_window(
    colour_encoder: Encoder, colour_towers: Any, tmp_path: Path, gate: threading.Event
) -> None:
    Image.fromarray(np.zeros((40, 400, 3), np.uint8)).save(tmp_path / "wide.png")
    content = (tmp_path / "wide.png").read_bytes()
    known = colour_encoder.encode_labels(LABELS, "simple")

    async def main() -> None:
        queue = _queue(colour_encoder)
        seen: list[tuple[int, int]] = []
        task = asyncio.create_task(
            queue.segment(content, known, SlidingWindow(), lambda *event: seen.append(event))
        )
        while not seen:
            await asyncio.sleep(0.01)
        assert seen[0][1] > 2
        task.cancel()
        await asyncio.wait([task])
        gate.set()
        await queue.close()
        assert len(colour_towers.batches) == 1

    asyncio.run(main())
