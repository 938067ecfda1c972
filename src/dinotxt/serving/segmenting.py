"""Segmentation: heavy work, one picture after the other on a thread of its own."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from PIL import Image

from dinotxt.data.pictures import ImageSource
from dinotxt.errors import DinotxtError
from dinotxt.inference.dense import Mode
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import LabelFeatures
from dinotxt.inference.segmenter import Segmenter
from dinotxt.results.segmentation import Segmentation
from dinotxt.results.skip import Progress
from dinotxt.serving.batcher import Batcher, Lane
from dinotxt.serving.config import ServeConfig
from dinotxt.serving.errors import ApiError
from dinotxt.serving.observe import Metrics
from dinotxt.serving.pictures import Decoder

_OPEN_PICTURES = 2  # one at work and one in hand: what decoded pictures may take of the memory
_WINDOWS_AT_ONCE = 2  # the steps of the progress


class _AbandonedError(DinotxtError):
    """The client has gone; nobody waits for the result."""


@dataclass(slots=True, eq=False)
class _Job:
    source: ImageSource
    num_passes: int
    labels: LabelFeatures
    mode: Mode
    on_progress: Progress
    abandoned: threading.Event = field(default_factory=threading.Event)


class SegmentQueue:
    """Segments pictures in the order of their requests.

    Args:
        encoder: The model.
        config: Limits.
        metrics: Told of the queue.
        threads: Where pictures are decoded.
    """

    def __init__(
        self, encoder: Encoder, config: ServeConfig, metrics: Metrics, threads: ThreadPoolExecutor
    ) -> None:
        self._encoder = encoder
        self._threads = threads
        self._decoder = Decoder(encoder.transform, config.limits)
        self._max_queue = config.limits.max_queue
        self._places = asyncio.Semaphore(_OPEN_PICTURES)
        self._num_waiting = 0
        self._lane = Lane("segment")
        self._jobs: Batcher[_Job, Segmentation] = Batcher(
            lambda jobs: [self._run(job) for job in jobs],
            self._lane,
            batch_size=1,
            batch_wait=0,
            max_queue=_OPEN_PICTURES,
            on_batch=metrics.batch_items.labels("segment").observe,
        )
        metrics.queued.labels("segment").set_function(lambda: self._num_waiting)

    async def segment(
        self,
        content: bytes,
        labels: LabelFeatures,
        mode: Mode,
        on_progress: Progress = lambda *_: None,
    ) -> Segmentation:
        """Segment an encoded picture.

        Args:
            content: The bytes of the picture.
            labels: What to look for.
            mode: How to look at it.
            on_progress: Called on the event loop with (done, total) forward passes.

        Raises:
            ApiError: 413 or 422 if the picture is refused, 429 if too many requests wait.
        """
        if self._num_waiting >= self._max_queue:
            raise ApiError(429, "Too many pictures wait to be segmented: try again in a second.")
        loop = asyncio.get_running_loop()
        self._num_waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._num_waiting -= 1
        try:
            picture = await loop.run_in_executor(self._threads, self._decoder.picture, content)
            job = _Job(
                source=picture if isinstance(picture, Image.Image) else content,
                num_passes=mode.passes(picture),
                labels=labels,
                mode=mode,
                on_progress=lambda *event: _report(loop, on_progress, event),
            )
            try:
                return (await self._jobs.submit([job]))[0]
            finally:
                job.abandoned.set()
        finally:
            self._places.release()

    async def close(self) -> None:
        """Finish what waits and end the thread."""
        await self._jobs.close()
        self._lane.close()

    def _run(self, job: _Job) -> Segmentation:
        done = 0

        def on_pass(count: int) -> None:
            nonlocal done
            if job.abandoned.is_set():
                raise _AbandonedError("The client has gone.")
            job.on_progress(done, max(job.num_passes, done + count))
            done += count

        segment = Segmenter(self._encoder, job.labels, mode=job.mode, batch_size=_WINDOWS_AT_ONCE)
        return segment(job.source, on_pass=on_pass)


def _report(loop: asyncio.AbstractEventLoop, on_progress: Progress, event: tuple[int, int]) -> None:
    """Tell the event loop, from another thread."""
    loop.call_soon_threadsafe(on_progress, *event)
