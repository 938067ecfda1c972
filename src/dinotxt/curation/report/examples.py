"""Example pairs for the report: some that a draw kept, some that it dropped, and flagged ones.

And pictures of the largest clusters, without which a cluster is but a number.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dinotxt.curation.pictures import embedding_blocks, image_ref, pair_clusters, read_pictures
from dinotxt.curation.pool import read_table
from dinotxt.curation.text import flag
from dinotxt.data.order import CuratedPairs
from dinotxt.data.pictures import small_jpeg
from dinotxt.data.readers import ImageRef
from dinotxt.errors import DataError

KINDS = ("kept", "dropped by text", "dropped by image", "dropped by both")

_EACH = 12
_OF_CLUSTER = 8
_MAX_TABLES = 4
_SIDE = 160


@dataclass(frozen=True, slots=True)
class Example:
    """One pair of the report.

    Attributes:
        key: Its record's key.
        caption: Its caption.
        keep_text: The keep probability of its caption.
        keep_image: The keep probability of its picture.
        image: Where the picture lies.
    """

    key: str
    caption: str
    keep_text: float
    keep_image: float
    image: ImageRef

    def to_dict(self) -> dict[str, Any]:
        """Return the example as JSON values, without the place of its picture."""
        return {
            "key": self.key,
            "caption": self.caption,
            "keep_text": round(self.keep_text, 4),
            "keep_image": round(self.keep_image, 4),
        }

    def thumbnail(self) -> str | None:
        """Return a small JPEG as a data address; None where the picture cannot be read."""
        return thumbnail(self.image, _SIDE)


def thumbnail(image: ImageRef, side: int) -> str | None:
    """Return a JPEG of at most ``side`` pixels as a data address; None if it cannot be read."""
    try:
        picture = image.open(draft_size=side)
    except DataError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(small_jpeg(picture, side)).decode()


def find_examples(
    tables: list[Path], curated: CuratedPairs, epoch: int
) -> dict[str, list[Example]]:
    """Return up to 12 examples of each kind, and of each caption flag, from the first tables."""
    found: dict[str, list[Example]] = {kind: [] for kind in KINDS}
    for table, records in zip(tables[:_MAX_TABLES], curated.tables(), strict=False):
        kept = curated.decide(records, epoch)
        kinds = 1 * ~kept.text + 2 * ~kept.image
        for kind, example in _rows(table, records, kinds):
            _add(found, KINDS[kind], example)
            flagged = flag(example.caption)
            if flagged:
                _add(found, f"{flagged} caption", example)
    return {kind: examples for kind, examples in found.items() if examples}


def find_cluster_pictures(
    root: Path, tables: list[Path], clusters: Sequence[int]
) -> dict[int, list[ImageRef]]:
    """Return up to 8 pictures of each of some clusters of the first level, from the first tables.

    Args:
        root: The output folder of a curation whose pictures were clustered.
        tables: Of its pool.
        clusters: Their numbers.
    """
    found: dict[int, list[ImageRef]] = {cluster: [] for cluster in clusters}
    blocks = embedding_blocks(root)
    for table in tables[:_MAX_TABLES]:
        pictures = read_pictures(table)
        of_pair, has_vector = pair_clusters(root, table, blocks)
        for cluster, refs in found.items():
            members = np.unique(pictures.of_pair[has_vector & (of_pair == cluster)])
            refs += [pictures.refs[member] for member in members[: _OF_CLUSTER - len(refs)]]
    return found


def _add(found: dict[str, list[Example]], kind: str, example: Example) -> None:
    examples = found.setdefault(kind, [])
    if len(examples) < _EACH:
        examples.append(example)


def _rows(table: Path, records: Any, kinds: Any) -> Iterator[tuple[int, Example]]:
    """Yield (kind, example) by pair id, which is a random order."""
    content = read_table(table)
    order = np.argsort(content["pair_id"].to_numpy(), kind="stable")
    columns = content.take(order).to_pydict()
    for row in range(len(records)):
        record = records[row]
        example = Example(
            columns["key"][row],
            columns["caption"][row],
            float(record["keep_text"]),
            float(record["keep_image"]),
            image_ref(columns, row),
        )
        yield int(kinds[row]), example
