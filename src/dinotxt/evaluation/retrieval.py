"""Retrieval between pictures and captions (dino.txt, section 4.1): recall at 1, 5 and 10."""

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pairs import read_pairs
from dinotxt.evaluation.job import Job, transform_protocol
from dinotxt.inference.encoder import unit
from dinotxt.metrics.bootstrap import bootstrap_interval, mean_interval
from dinotxt.metrics.recall import retrieval_ranks
from dinotxt.results.report import Interval, Report


def evaluate_retrieval(job: Job) -> Report:
    """Rank all pictures for every caption, and all captions for every picture.

    Raises:
        DataError: If the data cannot be read or have no usable pair.
    """
    pairs = read_pairs(job.data, on_skip=job.skip)
    items = job.options.take(sorted(pairs, key=lambda pair: pair.key))
    features, kept = [], []
    for batch in job.encoder.stream_images(
        (item.image for item in items),
        batch_size=job.options.batch_size or 32,
        num_workers=job.options.num_workers,
        on_skip=job.skip,
    ):
        features.append(batch.features)
        kept += [items[index] for index in batch.indices]
        job.progress(int(batch.indices[-1]) + 1, len(items))
    job.require(len(kept))
    captions = [caption for pair in kept for caption in pair.captions]
    owners = np.repeat(np.arange(len(kept)), [len(pair.captions) for pair in kept])
    text = job.encoder.encode_text(captions)
    ranks = retrieval_ranks(unit(np.concatenate(features)), text, owners)
    hits = ranks.hits()
    protocol = {
        **transform_protocol(job.encoder),
        "captions": "all",
        "num_captions": len(captions),
    }
    return job.report(
        len(kept),
        ranks.metrics(),
        {name: _interval(one, owners, len(kept)) for name, one in hits.items()},
        protocol,
    )


def _interval(hits: NDArray[np.float64], owners: NDArray[np.int64], num_images: int) -> Interval:
    """Resample pictures: the captions of one picture are no independent queries."""
    if len(hits) == num_images:
        return mean_interval(hits)
    sums = np.bincount(owners, weights=hits, minlength=num_images)
    counts = np.bincount(owners, minlength=num_images)
    return bootstrap_interval(np.stack([sums, counts], axis=1), lambda s: s[:, 0] / s[:, 1])
