"""What the routes ask: one model and at most one index, on threads of their own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from dinotxt.inference.classifier import ZeroShotClassifier
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Features
from dinotxt.results.classification import Classification
from dinotxt.results.hit import Hit
from dinotxt.search.engines import Vectors
from dinotxt.search.where import Filter
from dinotxt.serving.config import ServeConfig
from dinotxt.serving.embedder import Embedder
from dinotxt.serving.errors import ApiError
from dinotxt.serving.observe import Metrics
from dinotxt.serving.pictures import PictureLinks
from dinotxt.serving.schemas import IndexInfo
from dinotxt.serving.segmenting import SegmentQueue

Value = TypeVar("Value")


class Searched(Protocol):
    """An index that answers vectors with pictures."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    @property
    def engine(self) -> str:
        """How it is searched."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def current(self) -> "Searched":
        """Return its newest finished state."""

    def search_vectors(self, queries: Vectors, *, k: int, where: Filter | None) -> list[list[Hit]]:
        """Return the best pictures for each row of ``float32 [Q, E]``."""

    def shown(self, path: str) -> str:
        """Return what of a hit's path a client may see."""

    def thumbnail(self, path: str | Path, side: int) -> bytes:
        """Return a JPEG of a hit, or raise DataError."""


class Engine:
    """Answers what the routes ask.

    Light work (pictures and texts, in batches) and segmentation have a thread each, so that a
    long segmentation does not hold up the rest; decoding and searching have their own.

    Args:
        encoder: The model.
        config: How to run.
        metrics: Told what happens.
        index: What is searched, if anything.

    Attributes:
        model: What answers call the model.
        embed: Gives features.
        segments: Segments pictures.
        links: Names pictures of the index.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: ServeConfig,
        metrics: Metrics,
        index: Searched | None = None,
    ) -> None:
        self.encoder = encoder
        self.config = config
        self.index = index
        self.model = _shown_name(encoder.name)
        self.links = PictureLinks()
        self._threads = ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode")
        self.embed = Embedder(encoder, config, metrics, self._threads)
        self.segments = SegmentQueue(encoder, config, metrics, self._threads)

    @property
    def default_templates(self) -> str:
        """The set of templates that is used where the client names none."""
        return self.encoder.defaults.templates

    async def classify(
        self, content: bytes, labels: Sequence[str], patterns: tuple[str, ...]
    ) -> Classification:
        """Classify one encoded picture."""
        features, text = await asyncio.gather(
            self.embed.images([content]), self.embed.labels(labels, patterns)
        )
        classifier = ZeroShotClassifier(self.encoder, text)
        return (await self.on_thread(lambda: classifier.classify_features(features, ["image"])))[0]

    def require_index(self) -> Searched:
        """Return the index.

        Raises:
            ApiError: 404 if there is none.
        """
        if self.index is None:
            raise ApiError(404, "This server has no index: start it with --index INDEX.")
        return self.index

    def index_info(self) -> IndexInfo | None:
        """Return what can be searched, if anything; it may ask a disk or a database."""
        if self.index is None:
            return None
        self.index = index = self.index.current()
        return IndexInfo(name=index.name, num_pictures=len(index), engine=index.engine)

    async def search(self, query: Features, k: int, where: Filter) -> list[Hit]:
        """Return the pictures of the index that fit a query ``[1, E]`` best."""
        known = self.require_index()

        def run() -> list[Hit]:
            self.index = index = known.current()
            return index.search_vectors(query, k=k, where=where)[0]

        return await self.on_thread(run)

    async def thumbnail(self, name: str, side: int) -> bytes:
        """Return a JPEG of a picture that a search found; ``name`` comes from its hit."""
        index, path = self.require_index(), self.links.path(name)
        return await self.on_thread(lambda: index.thumbnail(path, side))

    async def on_thread(self, call: Callable[[], Value]) -> Value:
        """Run a call that would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def close(self) -> None:
        """Finish what waits, refuse what comes, end the threads."""
        await asyncio.gather(self.embed.close(), self.segments.close())
        self._threads.shutdown(wait=True, cancel_futures=True)


def _shown_name(name: str) -> str:
    """Return a model's name; of a folder only the last part, since where it lies is private."""
    return Path(name).resolve().name if Path(name).is_dir() else name
