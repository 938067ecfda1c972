"""Retrieval between pictures and captions (dino.txt, section 4.1): recall at 1, 5 and 10."""

import numpy as np
from numpy.typing import NDArray

from dinotxt.evaluation.datasets import open_pairs
from dinotxt.evaluation.features import image_features
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
    found = open_pairs(job.data, on_skip=job.skip)
    items = job.options.take(sorted(found.pairs, key=lambda pair: pair.key))
    features = np.empty((len(items), job.encoder.embed_dim), dtype=np.float32)
    usable = np.zeros(len(items), dtype=bool)
    for batch in image_features(job, items):
        features[batch.indices] = batch.features
        usable[batch.indices] = True
    kept = [item for item, is_usable in zip(items, usable, strict=True) if is_usable]
    job.require(len(kept))
    captions = [caption for pair in kept for caption in pair.captions]
    owners = np.repeat(np.arange(len(kept)), [len(pair.captions) for pair in kept])
    text = job.encoder.encode_text(captions)
    ranks = retrieval_ranks(unit(features[usable]), text, owners)
    hits = ranks.hits()
    protocol = {
        **transform_protocol(job.encoder),
        "captions": "all" if found.captions is None else f"the first {found.captions}",
        "num_captions": len(captions),
    }
    return job.report(
        len(kept),
        ranks.metrics(),
        {name: _interval(one, owners, len(kept)) for name, one in hits.items()},
        protocol,
        found.name,
    )


def _interval(hits: NDArray[np.float64], owners: NDArray[np.int64], num_images: int) -> Interval:
    """Resample pictures: the captions of one picture are no independent queries."""
    if len(hits) == num_images:
        return mean_interval(hits)
    sums = np.bincount(owners, weights=hits, minlength=num_images)
    counts = np.bincount(owners, minlength=num_images)
    return bootstrap_interval(np.stack([sums, counts], axis=1), lambda s: s[:, 0] / s[:, 1])
