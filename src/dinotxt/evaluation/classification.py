"""Zero-shot classification (dino.txt, section 4.1): top-1 and top-5 over class names."""

from typing import Any

import numpy as np

from dinotxt.data.labelled import read_labelled
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
    found = read_labelled(job.data, on_skip=job.skip)
    num_labels = 1 + max(item.label for item in found.items)
    names = choose_names(found.class_names, job.options.classes, num_labels, job.data)
    templates, templates_name = chosen_templates(job, found.templates)
    text = job.encoder.encode_labels(names.names, templates)
    items = job.options.take(sorted(found.items, key=lambda item: item.key))
    targets = names.index[[item.label for item in items]]
    ranks = []
    for batch in job.encoder.stream_images(
        (item.image for item in items),
        batch_size=job.options.batch_size or 32,
        num_workers=job.options.num_workers,
        on_skip=job.skip,
    ):
        ranks.append(target_ranks(batch.features @ text.T, targets[batch.indices]))
        job.progress(int(batch.indices[-1]) + 1, len(items))
    n = sum(map(len, ranks))
    job.require(n)
    all_ranks = np.concatenate(ranks)
    protocol: dict[str, Any] = {
        **transform_protocol(job.encoder),
        "templates": templates_name,
        "num_templates": len(templates),
        "classes": names.source,
        "num_classes": len(names.names),
    }
    return job.report(
        n,
        {f"top{k}": topk_accuracy(all_ranks, k) for k in _TOP},
        {f"top{k}": mean_interval(all_ranks < k) for k in _TOP},
        protocol,
    )
