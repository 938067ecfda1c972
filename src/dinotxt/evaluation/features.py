"""Image features of a data set in one pass, whatever is compared with them, and resumable."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from dinotxt.data.pictures import Stored
from dinotxt.evaluation.job import Job
from dinotxt.evaluation.ledger import Ledger, fingerprint, missing
from dinotxt.inference.decoding import EncodedImages


class Keyed(Protocol):
    """A picture with a key."""

    @property
    def key(self) -> str:
        """A name that no other picture of the data has."""

    @property
    def image(self) -> Stored:
        """Where the picture lies."""


def image_features(job: Job, items: Sequence[Keyed]) -> Iterator[EncodedImages]:
    """Yield the features of the pictures, each once, first those of an earlier run.

    Pictures that cannot be used are reported and left out. With ``resume`` the features are kept
    in that folder, so that other classes or templates cost no second pass.

    Raises:
        ConfigError: If the folder of ``resume`` belongs to another evaluation.
        DataError: If a picture cannot be used and nobody is to be told.
    """
    identity = {
        "rows": "image features",
        "model": job.encoder.fingerprint,
        "transform": job.encoder.transform.fingerprint,
        "pictures": fingerprint(item.key for item in items),
    }
    ledger = Ledger(job.options.resume, identity)
    done = np.zeros(len(items), dtype=bool)
    for positions, rows in ledger.rows():
        done[positions] = True
        job.progress(int(done.sum()), len(items))
        yield EncodedImages(positions, rows)
    left = missing(done)
    kept = len(items) - len(left)
    try:
        for batch in job.encoder.stream_images(
            (items[position].image for position in left),
            batch_size=job.options.batch_size or 32,
            num_workers=job.options.num_workers,
            on_skip=job.skip,
        ):
            positions = left[batch.indices]
            ledger.add(positions, batch.features)
            yield EncodedImages(positions, batch.features)
            job.progress(kept + int(batch.indices[-1]) + 1, len(items))
    finally:
        ledger.save()
