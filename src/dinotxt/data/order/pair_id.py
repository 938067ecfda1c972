"""The id of a pair: a hash of its record's key and the caption's index, whatever shard it is in.

Curation decides by this id which pairs an epoch sees, so that moving records between shards
changes nothing.
"""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers.record import Pair


def record_key(pair: Pair) -> str:
    """Return the key of a record without the name of its shard."""
    if pair.image.offset is None:
        return pair.key
    return PurePosixPath(pair.image.member).with_suffix("").as_posix().removeprefix("./")


def pair_id(key: str, caption_index: int) -> int:
    """Return the 64-bit id of one caption of a record (BLAKE2b of ``key``, NUL, index)."""
    content = f"{key}\0{caption_index}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def pair_ids(pairs: Iterable[Pair]) -> list[NDArray[np.uint64]]:
    """Return the ids of all captions of each pair, in their order."""
    return [
        np.array([pair_id(key, index) for index in range(len(pair.captions))], dtype=np.uint64)
        for pair in pairs
        for key in [record_key(pair)]
    ]
