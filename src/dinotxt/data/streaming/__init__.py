"""Shards as a stream: fetched, indexed, ordered."""

from dinotxt.data.streaming.cache import ShardCache
from dinotxt.data.streaming.index import index_shards, list_shards
from dinotxt.data.streaming.order import StreamConfig, StreamSampler
from dinotxt.data.streaming.reader import ShardReader
from dinotxt.data.streaming.remote import Remote

__all__ = [
    "Remote",
    "ShardCache",
    "ShardReader",
    "StreamConfig",
    "StreamSampler",
    "index_shards",
    "list_shards",
]
