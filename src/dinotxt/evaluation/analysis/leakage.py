"""Context leakage: labels that the rest of the picture suggests (dino.txt, section 4.5).

The paper's example is a wall that is called a shower because it stands in a bathroom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_PICTURES = 2  # a single picture is no tendency


@dataclass(frozen=True, slots=True)
class Leak:
    """How much more often a label is wrong in one context.

    Attributes:
        label: The wrong label, a position.
        context: The class that covers most of the other pixels of these pictures, a position.
        lift: The rate of the wrong label in these pictures over its rate in all of them; the rate
            is the share of the pixels of other classes that have it.
        pictures: How many pictures have this context.
        pixels: Wrong pixels of the label in them.
    """

    label: int
    context: int
    lift: float
    pictures: int
    pixels: int


def context_leaks(truths: NDArray[np.int64], wrong: NDArray[np.int64]) -> list[Leak]:
    """Return the leaks, the largest lift first.

    Args:
        truths: ``[N, C]``, true pixels of each class by picture.
        wrong: ``[N, C]``, pixels of other classes that got the label.
    """
    leaks = []
    for label in range(truths.shape[1]):
        others = truths.sum(axis=1) - truths[:, label]
        if not wrong[:, label].sum():
            continue
        rate = wrong[:, label].sum() / others.sum()
        contexts = context_of(truths, label)
        for context in np.unique(contexts[contexts >= 0]).tolist():
            here = contexts == context
            pixels = int(wrong[here, label].sum())
            if here.sum() >= _LEAST_PICTURES and pixels:
                lift = float(pixels / others[here].sum() / rate)
                leaks.append(Leak(label, context, lift, int(here.sum()), pixels))
    return sorted(leaks, key=lambda leak: (-leak.lift, -leak.pixels))


def context_of(truths: NDArray[np.int64], label: int) -> NDArray[np.int64]:
    """Return the most frequent other class of each picture, ``[N]``; -1 if there is none."""
    others = truths.copy()
    others[:, label] = 0
    return np.where(others.any(axis=1), others.argmax(axis=1), -1)


def leak_rows(leaks: Sequence[Leak], labels: Sequence[str]) -> list[dict[str, object]]:
    """Return plain rows with names."""
    return [
        {
            "label": labels[leak.label],
            "context": labels[leak.context],
            "lift": round(leak.lift, 4),
            "pictures": leak.pictures,
            "pixels": leak.pixels,
        }
        for leak in leaks
    ]
