"""Zero-shot classification (dino.txt, section 4.1): top-1 and top-5 over class names."""

from typing import Any

import numpy as np

from dinotxt.evaluation.datasets import open_labelled
from dinotxt.evaluation.features import image_features
from dinotxt.evaluation.job import Job, chosen_templates, transform_protocol
from dinotxt.evaluation.names import choose_names
from dinotxt.metrics.bootstrap import mean_interval
from dinotxt.metrics.topk import target_ranks, topk_accuracy
from dinotxt.results.report import Report

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
    text = encoder.classified_part(encoder.encode_labels(names.names, templates))
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
