"""Zero-shot classification and retrieval (dino.txt, section 4.1): one feature a picture.

Classification gives top-1 and top-5 over class names, retrieval recall at 1, 5 and 10 both ways.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.evaluation.datasets import open_labelled, open_pairs
from dinotxt.evaluation.job import Job, chosen_templates, transform_protocol
from dinotxt.evaluation.ledger import image_features
from dinotxt.evaluation.names import choose_names
from dinotxt.inference.features import unit
from dinotxt.metrics.bootstrap import bootstrap_interval, mean_interval
from dinotxt.metrics.recall import retrieval_ranks
from dinotxt.metrics.topk import target_ranks, topk_accuracy
from dinotxt.results.report import Interval, Report

_TOP = (1, 5)


def evaluate_classification(job: Job) -> Report:
    """Classify every picture among all classes, in one pass over the pictures.

    Raises:
        DataError: If the data cannot be read, have no names or no usable picture.
    """
    found = open_labelled(job.data, trim_border=job.options.trim_border, on_skip=job.skip)
    num_labels = 1 + max(item.label for item in found.items)
    names = choose_names(
        found.class_names, job.options.classes, num_labels, job.data, found.variants
    )
    templates, templates_name = chosen_templates(job, found.templates)
    encoder = job.encoder
    text = encoder.classified_part(encoder.encode_labels(names.names, templates).features)
    items = job.options.take(sorted(found.items, key=lambda item: item.key))
    targets = names.index[[item.label for item in items]]
    ranks = np.full(len(items), -1, dtype=np.int64)
    for batch in image_features(job, items):
        ranks[batch.indices] = target_ranks(
            encoder.classified_part(batch.features) @ text.T, targets[batch.indices]
        )
    all_ranks = ranks[ranks >= 0]
    n = len(all_ranks)
    job.require(n)
    protocol: dict[str, Any] = {
        **transform_protocol(encoder),
        "compared": encoder.defaults.classify,
        "templates": templates_name,
        "num_templates": len(templates),
        "classes": names.source,
        "num_classes": len(names.names),
        "trim_border": job.options.trim_border,
    }
    return job.report(
        n,
        {f"top{k}": topk_accuracy(all_ranks, k) for k in _TOP},
        {f"top{k}": mean_interval(all_ranks < k) for k in _TOP},
        protocol,
        found.name,
    )


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
