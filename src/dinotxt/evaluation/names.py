"""Class names for an evaluation: those of the data, or a list that the user gives."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import ConfigError, DataError
from dinotxt.text.class_names import class_names
from dinotxt.text.prompt import synonyms
from dinotxt.text.published import imagenet_ids

_WORDNET_ID = re.compile(r"n\d{8}")


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Class names and where the labels of the data lie among them.

    Attributes:
        names: One for each class.
        index: int64, from a label of the data to a class.
        source: Where the names come from, for the report.
    """

    names: tuple[str, ...]
    index: NDArray[np.int64]
    source: str


def choose_names(
    of_data: Sequence[str],
    given: str | Path | Sequence[str] | None,
    num_labels: int,
    data: str,
    variants: Mapping[str, tuple[str, ...]] | None = None,
) -> Names:
    """Choose class names.

    A given list that holds every name of the data is matched by name, so that it may have more
    classes or another order; a list of the same length is taken in order. WordNet ids of ImageNet
    stand for ImageNet's names, and match ``imagenet`` by id.

    Args:
        of_data: The names that the data come with; empty if they have none.
        given: What the user gave.
        num_labels: One more than the largest label.
        data: The data set, for messages.
        variants: Other names that come with the data, in the order of the labels.

    Raises:
        ConfigError: If there is no such list and no such file.
        DataError: If there are no names or they do not fit the labels.
    """
    if isinstance(given, str) and variants and given in variants:
        return Names(variants[given], np.arange(len(variants[given])), given)
    if given in (None, "imagenet") and of_data and set(of_data) <= set(imagenet_ids()):
        return _imagenet(of_data, every=given is not None)
    if given is None:
        if not of_data or all(_WORDNET_ID.fullmatch(name) for name in of_data):
            raise DataError(f"{data} has no class names: give them with --classes NAME|FILE.")
        names = tuple(readable(name) for name in of_data)
        return Names(names, np.arange(len(names)), "data")
    if isinstance(given, str | Path):
        names, source = _listed(given, variants), str(given)
    else:
        names, source = tuple(given), "given"
    index = _by_name(of_data, names)
    if index is None:
        expected = len(of_data) or num_labels
        if len(names) < num_labels or (of_data and len(names) != expected):
            raise DataError(
                f"{source} names {len(names)} classes, {data} has {expected}: give one name for "
                "each, in the order of the labels."
            )
        index = np.arange(len(names))
    return Names(names, index, source)


def _listed(given: str | Path, variants: Mapping[str, tuple[str, ...]] | None) -> tuple[str, ...]:
    """Return a list that comes with dinotxt or a file; errors name the data's own variants, too."""
    try:
        return class_names(given)
    except ConfigError as error:
        own = f" The data have {', '.join(variants)} themselves." if variants else ""
        raise ConfigError(f"{error}{own}") from None


def _imagenet(ids: Sequence[str], *, every: bool) -> Names:
    """Return ImageNet's names for WordNet ids; ``every`` lets all 1,000 compete."""
    names = class_names("imagenet")
    places = {one: place for place, one in enumerate(imagenet_ids())}
    index = np.array([places[one] for one in ids], dtype=np.int64)
    if every or len(ids) == len(names):
        return Names(names, index, "imagenet")
    chosen = tuple(names[place] for place in index)
    return Names(chosen, np.arange(len(chosen)), f"imagenet, {len(chosen)} of its classes")


def readable(name: str) -> str:
    """Return a folder's name as words: ``red_panda`` becomes ``red panda``."""
    return " ".join(name.replace("_", " ").split())


def _by_name(of_data: Sequence[str], names: Sequence[str]) -> NDArray[np.int64] | None:
    """Find each name of the data in a list, by any synonym; None unless all are there once."""
    places: dict[str, set[int]] = {}
    for place, label in enumerate(names):
        for synonym in synonyms(label):
            places.setdefault(readable(synonym).lower(), set()).add(place)
    found = [places.get(readable(name).lower(), set()) for name in of_data]
    if not found or any(len(place) != 1 for place in found):
        return None
    return np.array([place for places_of_one in found for place in places_of_one], np.int64)
