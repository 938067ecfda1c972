"""Features of pictures, texts and labels, in batches over requests and with a memory of texts."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Features, LabelFeatures, group_means, unit
from dinotxt.serving.batcher import Batcher, Lane
from dinotxt.serving.config import ServeConfig
from dinotxt.serving.observe import Metrics
from dinotxt.serving.pictures import Decoder
from dinotxt.text.prompt import expand

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_PROMPTS_AT_ONCE = 256  # of one request; other requests get their turn in between


class LruCache(Generic[Key, Value]):
    """Keeps the ``size`` most recently used values; for use from one thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """Return the value and mark it as used, or None."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; the one that was used longest ago makes room."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text, or a label that stands for several prompts.

    Attributes:
        text: As the client gave it.
        patterns: The templates of a label, or None for a text that is taken as it is.
    """

    text: str
    patterns: tuple[str, ...] | None = None

    def prompts(self) -> Sequence[str]:
        """Return the texts whose features are averaged."""
        return [self.text] if self.patterns is None else expand([self.text], self.patterns)[0]


class Embedder:
    """Runs the light work of one model on one thread.

    Args:
        encoder: The model.
        config: Batch sizes, limits and the size of the cache.
        metrics: Told of batches, of the queue and of the cache.
        threads: Where pictures are decoded.
    """

    def __init__(
        self, encoder: Encoder, config: ServeConfig, metrics: Metrics, threads: ThreadPoolExecutor
    ) -> None:
        self._encoder = encoder
        self._metrics = metrics
        self._threads = threads
        self._decoder = Decoder(encoder.transform, config.limits)
        self._cache: LruCache[Phrase, Features] = LruCache(config.cache_size)
        self._lane = Lane("model")
        self._images = self._batcher(self._encode_images, "image", config)
        self._phrases = self._batcher(self._encode_phrases, "text", config)

    async def images(self, contents: Sequence[bytes]) -> Features:
        """Return unit features ``[N, E]`` of encoded pictures.

        Raises:
            ApiError: 413 or 422 if a picture is refused, 429 if too many requests wait.
        """
        self._images.admit()
        loop = asyncio.get_running_loop()
        decoded = [
            loop.run_in_executor(self._threads, self._decoder.pixels, content)
            for content in contents
        ]
        return np.stack(await self._images.submit(await asyncio.gather(*decoded)))

    async def texts(self, texts: Sequence[str]) -> Features:
        """Return unit features ``[N, E]`` of texts.

        Raises:
            ApiError: 429 if too many requests wait.
        """
        return await self._features([Phrase(text) for text in texts])

    async def labels(self, labels: Sequence[str], patterns: tuple[str, ...]) -> LabelFeatures:
        """Return labels with their features, averaged over the templates.

        Raises:
            ApiError: 429 if too many requests wait.
        """
        features = await self._features([Phrase(label, patterns) for label in labels])
        return LabelFeatures(tuple(labels), features)

    async def close(self) -> None:
        """Finish what waits and end the thread."""
        await self._images.close()
        await self._phrases.close()
        self._lane.close()

    def _batcher(
        self, call: Callable[[list[Item]], Sequence[Features]], kind: str, config: ServeConfig
    ) -> Batcher[Item, Features]:
        batcher: Batcher[Item, Features] = Batcher(
            call,
            self._lane,
            batch_size=config.batch_size,
            batch_wait=config.batch_wait,
            max_queue=config.limits.max_queue,
            on_batch=self._metrics.batch_items.labels(kind).observe,
        )
        self._metrics.queued.labels(kind).set_function(lambda: batcher.depth)
        return batcher

    async def _features(self, phrases: Sequence[Phrase]) -> Features:
        known: dict[Phrase, Features] = {}
        missing: list[Phrase] = []
        for phrase in dict.fromkeys(phrases):
            kept = self._cache.get(phrase)
            if kept is None:
                missing.append(phrase)
            else:
                known[phrase] = kept
        self._metrics.cached_texts.labels("hit").inc(len(known))
        self._metrics.cached_texts.labels("miss").inc(len(missing))
        for chunk in _chunks(missing):
            for phrase, features in zip(chunk, await self._phrases.submit(chunk), strict=True):
                known[phrase] = features
                self._cache.put(phrase, features)
        return np.stack([known[phrase] for phrase in phrases])

    def _encode_images(self, pictures: list[NDArray[np.float32]]) -> list[Features]:
        """Encode inputs of one size together: thumbnails have smaller ones."""
        features = np.empty((len(pictures), self._encoder.embed_dim), dtype=np.float32)
        sides = np.array([picture.shape[-1] for picture in pictures])
        for side in np.unique(sides):
            rows = np.flatnonzero(sides == side)
            features[rows] = self._encoder.encode_pixels(np.stack([pictures[row] for row in rows]))
        return [*unit(features)]

    def _encode_phrases(self, phrases: list[Phrase]) -> list[Features]:
        groups = [phrase.prompts() for phrase in phrases]
        features = self._encoder.encode_text([prompt for group in groups for prompt in group])
        return [*group_means(features, [len(group) for group in groups])]


def _chunks(phrases: Sequence[Phrase]) -> list[Sequence[Phrase]]:
    """Cut phrases into parts of about the same number of prompts."""
    if not phrases:
        return []
    step = max(1, _PROMPTS_AT_ONCE // max(len(phrases[0].prompts()), 1))
    return [phrases[start : start + step] for start in range(0, len(phrases), step)]
