"""Batches of a stream of shards: pictures and captions are read together, sample by sample."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dinotxt.data.order import caption_index
from dinotxt.data.pictures import RandomView, Transform
from dinotxt.data.readers import ImageRef
from dinotxt.data.streaming import (
    Remote,
    ShardCache,
    ShardReader,
    StreamConfig,
    StreamSampler,
    index_shards,
    list_shards,
)
from dinotxt.errors import DataError
from dinotxt.files import cache_dir, is_address
from dinotxt.results.skip import OnSkip, Skip
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.feed.batches import Batch, BatchReader

_FEWEST_EXPECTED = 1000
_GIB = 1 << 30


class StreamBatches(BatchReader):
    """The micro-batches of a stream.

    A sample that cannot be used leaves its batch smaller; nothing takes its place.

    Args:
        reader: The samples.
        sampler: Their order.
        transform: What happens to a picture.
        tokenize: Turns texts into token ids.
        seed: Of the views and the captions.
        micro_batch_size: Samples a micro-batch; the last one of a step may be smaller.
        view: A random view instead of the transform's own resizing; None: the plain picture.
        all_captions: Give all captions of a picture rather than one.
        rank: The number of this process.
        num_ranks: How many processes share a batch.
    """

    def __init__(  # noqa: PLR0913
        self,
        reader: ShardReader,
        sampler: StreamSampler,
        transform: Transform,
        tokenize: Callable[[Sequence[str]], TokenBatch],
        *,
        seed: int,
        micro_batch_size: int | None = None,
        view: RandomView | None = None,
        all_captions: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(
            sampler.batch_size,
            sampler.num_items,
            micro_batch_size=micro_batch_size,
            rank=rank,
            num_ranks=num_ranks,
        )
        self.reader = reader
        self.order = sampler
        self.transform = transform
        self.tokenize = tokenize
        self.seed = seed
        self.view = view
        self.all_captions = all_captions

    def read(self, step: int, places: slice | NDArray[np.int64]) -> Batch:
        """Make a batch of the samples at some places of a step's, and fetch the next shards.

        Raises:
            DataError: If a shard cannot be had.
        """
        items = self.order.indices(step)[places]
        epoch = self.order.epoch(step)
        self.reader.fetch_ahead(self.order.shards_ahead(step, places))
        side, channels = self.transform.config.size, len(self.transform.config.mean)
        pixels = np.empty((len(items), channels, side, side), dtype=np.float32)
        texts: list[str] = []
        owners: list[int] = []
        skipped: list[Skip] = []
        row = 0
        for item in items.tolist():
            shard, place = self.order.locate(item)
            self.reader.open_shard(shard)
            try:
                image, captions = self.reader.pair(shard, place)
                pixels[row] = self._picture(image, epoch, item)
            except DataError as error:
                skipped.append(Skip(self.reader.key(shard, place), str(error)))
                continue
            chosen = captions if self.all_captions else self._drawn(captions, epoch, item)
            texts += chosen
            owners += [row] * len(chosen)
            row += 1
        return self._batch(pixels[:row], texts, owners, skipped)

    def num_expected(self, step: int) -> int:
        """Return the samples seen by then, of which too many may turn out to be broken."""
        seen = (step + 1) * self.order.batch_size
        return min(max(seen, _FEWEST_EXPECTED), self.order.num_items)

    def names(self, step: int) -> list[str]:
        """Return the keys of the samples of a step."""
        items = self.order.indices(step).tolist()
        return [self.reader.key(*self.order.locate(item)) for item in items]

    def _batch(
        self,
        pixels: NDArray[np.float32],
        texts: Sequence[str],
        owners: Sequence[int],
        skipped: Sequence[Skip],
    ) -> Batch:
        tokens = self.tokenize(texts)
        return Batch(
            torch.from_numpy(pixels),
            torch.from_numpy(tokens.ids),
            torch.from_numpy(tokens.lengths),
            torch.tensor(owners, dtype=torch.int64) if self.all_captions else None,
            None,
            tuple(skipped),
        )

    def _picture(self, image: ImageRef, epoch: int, item: int) -> NDArray[np.float32]:
        if self.view is None:
            return self.transform.load(image)
        return self.view.load(image, seed=self.seed, epoch=epoch, index=item)

    def _drawn(self, captions: tuple[str, ...], epoch: int, item: int) -> tuple[str, ...]:
        return (captions[int(caption_index(self.seed, epoch, item, len(captions)))],)


def shard_cache(config: StreamConfig) -> ShardCache:
    """Return the local copies of a stream's shards."""
    return ShardCache(
        config.cache or cache_dir() / "shards",
        max_bytes=int(config.cache_gib * _GIB),
        remote=Remote(retries=config.retries),
    )


def open_stream(
    path: str,
    settings: StreamConfig,
    *,
    batch_size: int,
    seed: int,
    on_skip: OnSkip,
) -> tuple[ShardReader, StreamSampler, str]:
    """Find the shards of a source, count their samples and give them an order.

    Args:
        path: Their address or pattern.
        settings: How they are streamed.
        batch_size: Samples a step.
        seed: Of the order.
        on_skip: Hears of shards that cannot be used.

    Returns:
        The samples, their order, and a hash of the shards' names and counts.

    Raises:
        DataError: If there are no shards or one cannot be had.
        ConfigError: If there are fewer samples than one batch needs.
    """
    cache = shard_cache(settings)
    index = index_shards(list_shards(path, cache.remote, on_skip), cache, on_skip)
    sampler = StreamSampler(
        index.counts, batch_size, seed, lanes=settings.lanes, window=settings.window
    )
    # Lanes meet at a cut, and a window may begin before the others have ended theirs.
    reader = ShardReader(index, cache, num_open=2 * settings.lanes * (settings.window + 1))
    return reader, sampler, index.fingerprint


def local_data(data: str, settings: StreamConfig | None, report: OnSkip) -> str | list[str]:
    """Return data as they are, or, at an address, the local copies of its shards.

    The copies stay in use, and so in their place, until this process ends.
    """
    if not is_address(data):
        return data
    cache = shard_cache(settings or StreamConfig())
    return [str(cache.open(shard).path) for shard in list_shards(data, cache.remote, report)]
