"""A curation folder, read: which pairs an epoch keeps, from stored probabilities and a hash.

``keep/NAME.npy`` holds records ``(pair_id <u8, keep_text <f4, keep_image <f4)`` sorted by id;
``keep/stage.json`` names them, ``keep/draw.json`` holds the seed and the mode. A pair is kept
where each of its two uniform numbers, the halves of one hash of (seed, epoch, id), is below its
probability. Nothing else is stored: any epoch can be drawn anywhere, in any order (section 4.2).

The id of a pair is a hash of its record's key and the caption's index, whatever shard it is in, so
that moving records between shards changes nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinotxt.data.order.sampler import uniforms
from dinotxt.data.readers import Pair
from dinotxt.errors import DataError
from dinotxt.files import read_json, sha256_file

DrawMode = Literal["none", "text", "image", "both"]
KEEP_DTYPE = np.dtype([("pair_id", "<u8"), ("keep_text", "<f4"), ("keep_image", "<f4")])

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Which pairs a draw keeps.

    Attributes:
        text: bool ``[n]``, kept by its caption.
        image: bool ``[n]``, kept by its picture.
        both: bool ``[n]``, kept by what the mode asks for.
    """

    text: NDArray[np.bool_]
    image: NDArray[np.bool_]
    both: NDArray[np.bool_]


def draw(records: NDArray[np.void], *, seed: int, epoch: int, mode: DrawMode = "both") -> Kept:
    """Decide which of the records ``[n]`` an epoch keeps.

    Args:
        records: Of `KEEP_DTYPE`.
        seed: The seed of the curation.
        epoch: The epoch.
        mode: ``none`` keeps all, ``text`` and ``image`` ask one balance, ``both`` the two.
    """
    size = len(records)
    text, image = np.empty(size, dtype=bool), np.empty(size, dtype=bool)
    for start in range(0, size, _CHUNK):
        part = slice(start, start + _CHUNK)
        for_text, for_image = uniforms(seed, epoch, records["pair_id"][part])
        np.less(for_text, records["keep_text"][part], out=text[part])
        np.less(for_image, records["keep_image"][part], out=image[part])
    if mode == "both":
        return Kept(text, image, text & image)
    return Kept(text, image, {"text": text, "image": image}.get(mode, np.ones(size, dtype=bool)))


class CuratedPairs:
    """The keep probabilities of a curation folder.

    Args:
        folder: The ``output`` of `dinotxt curate run`.

    Raises:
        DataError: If the folder holds no finished curation.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "keep" / "stage.json").is_file():
            raise DataError(f"{folder} is no finished curation: run `dinotxt curate run` first.")
        self._report: dict[str, Any] = read_json(self.folder / "keep" / "stage.json")
        settings = read_json(self.folder / "keep" / "draw.json")
        self.seed: int = settings["seed"]
        self.mode: DrawMode = settings["mode"]
        self._sorted: NDArray[np.void] | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of what decides the draws: the stages before, the seed and the mode."""
        stages = sha256_file(self.folder / "keep" / "inputs.json")
        return f"{stages}-{self.seed}-{self.mode}"

    @property
    def num_pairs(self) -> int:
        """The number of pairs of the pool."""
        return int(self._report["n_in"])

    def tables(self) -> Iterator[NDArray[np.void]]:
        """Yield the mapped records of each table, sorted by id."""
        for file in self._report["files"]:
            yield np.load(self.folder / file, mmap_mode="r")

    def keeps(self, pair_ids: ArrayLike, epoch: int) -> NDArray[np.bool_]:
        """Tell which of some pairs ``[n]`` an epoch keeps; a pair outside the pool is not kept."""
        records, known = self._find(pair_ids)
        return np.asarray(self.decide(records, epoch).both & known)

    def knows(self, pair_ids: ArrayLike) -> NDArray[np.bool_]:
        """Tell which of some pairs ``[n]`` are in the pool."""
        return self._find(pair_ids)[1]

    def decide(self, records: NDArray[np.void], epoch: int) -> Kept:
        """Decide which of the records ``[n]`` an epoch keeps."""
        return draw(records, seed=self.seed, epoch=epoch, mode=self.mode)

    def _find(self, pair_ids: ArrayLike) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
        """Return a record for each of some pairs, and whether it is theirs."""
        wanted = np.asarray(pair_ids, dtype=np.uint64)
        records = self._all()
        places = np.minimum(np.searchsorted(records["pair_id"], wanted), len(records) - 1)
        return records[places], np.asarray(records["pair_id"][places] == wanted)

    def _all(self) -> NDArray[np.void]:
        if self._sorted is None:
            joined = np.concatenate(list(self.tables()))
            self._sorted = joined[np.argsort(joined["pair_id"], kind="stable")]
        return self._sorted


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
