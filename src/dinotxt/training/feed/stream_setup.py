"""From the configuration of a stream to its batches."""

from collections.abc import Callable
from dataclasses import dataclass

from dinotxt.data.pictures import RandomView, Transform
from dinotxt.data.streaming import (
    Remote,
    ShardCache,
    ShardReader,
    StreamConfig,
    StreamSampler,
    index_shards,
    is_address,
    list_shards,
)
from dinotxt.files import cache_dir
from dinotxt.results.skip import Skip
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.config import TrainConfig
from dinotxt.training.feed.stream import StreamBatches, StreamKeys

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that is ready.

    Attributes:
        batches: Its batches.
        keys: The key of every sample.
        fingerprint: A hash of the shards' names and counts.
    """

    batches: StreamBatches
    keys: StreamKeys
    fingerprint: str


def shard_cache(config: StreamConfig) -> ShardCache:
    """Return the local copies of a stream's shards."""
    return ShardCache(
        config.cache or cache_dir() / "shards",
        max_bytes=int(config.cache_gib * _GIB),
        remote=Remote(retries=config.retries),
    )


def open_stream(
    config: TrainConfig,
    settings: StreamConfig,
    tokenizer: Tokenizer,
    transform: Transform,
    *,
    on_skip: Callable[[Skip], None],
    ranks: tuple[int, int] = (0, 1),
) -> Stream:
    """Find the shards of ``data.train``, count their samples and give them an order.

    Args:
        config: The run's configuration.
        settings: How the shards are streamed.
        tokenizer: The text encoder's.
        transform: The transform of plain pictures.
        on_skip: Hears of shards that cannot be used.
        ranks: The number of this process, and of all processes.

    Raises:
        DataError: If there are no shards or one cannot be had.
        ConfigError: If there are fewer samples than one batch needs.
    """
    cache, data = shard_cache(settings), config.data
    shards = list_shards(data.train, cache.remote, on_skip)
    index = index_shards(shards, cache, on_skip)
    sampler = StreamSampler(
        index.counts,
        config.batch_size,
        config.seed,
        lanes=settings.lanes,
        window=settings.window,
    )
    # Lanes meet at a cut, and a window may begin before the others have ended theirs.
    reader = ShardReader(index, cache, num_open=2 * settings.lanes * (settings.window + 1))
    batches = StreamBatches(
        reader,
        sampler,
        transform,
        tokenizer,
        seed=config.seed,
        micro_batch_size=config.micro_batch_size or config.batch_size,
        view=RandomView(data.views, transform) if data.views else None,
        all_captions=data.captions != "drawn",
        ranks=ranks,
    )
    return Stream(batches, StreamKeys(reader, sampler), index.fingerprint)


def local_data(
    data: str, settings: StreamConfig | None, report: Callable[[Skip], None]
) -> str | list[str]:
    """Return data as they are, or, at an address, the local copies of its shards.

    The copies stay in use, and so in their place, until this process ends.
    """
    if not is_address(data):
        return data
    cache = shard_cache(settings or StreamConfig())
    return [str(cache.open(shard).path) for shard in list_shards(data, cache.remote, report)]
