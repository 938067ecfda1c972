"""Pairs that a classifier makes: features of its classes without pictures, and their names."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinotxt.checkpoints.sources import Classifier
from dinotxt.data.order import uniform
from dinotxt.models.vision import Tokens
from dinotxt.text.terms import Terms
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.config import ClassifierConfig
from dinotxt.training.feed.batches import Batch, BatchReader, VisionSource, join_vision
from dinotxt.training.feed.captions import CaptionTable

_CLASS, _OWN, _TERM, _TEMPLATE, _PICTURE = range(16, 21)  # streams of draws, beside those of pairs
_MOST_PICTURES = 1 << 16  # for the covariance
_CHUNK = 512
_LEAST_SLOPE = 1e-6


class Moments:
    """The mean and covariance of rows that come in parts, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        """Add rows ``[n, D]``."""
        rows = rows.double()
        self.count += len(rows)
        self.total = self.total + rows.sum(0)
        self.products = self.products + rows.T @ rows

    @property
    def mean(self) -> Tensor:
        """The mean, ``[D]``."""
        return torch.as_tensor(self.total) / self.count

    @property
    def covariance(self) -> Tensor:
        """The covariance, ``[D, D]``."""
        return torch.as_tensor(self.products) / self.count - torch.outer(self.mean, self.mean)


@dataclass(frozen=True, slots=True)
class RealFeatures:
    """The cached tokens of all training pictures, source by source.

    Attributes:
        sources: Where each source's tokens come from.
        counts: How many pictures each has.
    """

    sources: Sequence[VisionSource]
    counts: Sequence[int]

    def read(self, pictures: NDArray[np.int64], epoch: int) -> Tokens:
        """Return the tokens of pictures, numbered over all sources."""
        starts = np.cumsum([0, *self.counts])
        owners = np.searchsorted(starts, pictures, side="right") - 1
        order = np.argsort(owners, kind="stable")
        tokens = join_vision(
            [
                self.sources[owner].read(pictures[owners == owner] - starts[owner], epoch)[0]
                for owner in np.unique(owners)
            ]
        )
        assert isinstance(tokens, Tokens)  # the run asks for caches
        back = torch.from_numpy(np.argsort(order))
        parts = (tokens.cls[back], tokens.registers[back], tokens.patches[back])
        return Tokens(*parts, tokens.grid)

    def has_own_cls(self) -> bool:
        """Tell if the cls token is another one than the average patch."""
        tokens = self.read(np.arange(1), 0)
        return not torch.allclose(tokens.cls, tokens.patches.mean(1), rtol=1e-2, atol=1e-2)

    def covariance(self, feature: str) -> Tensor:
        """Return the covariance of a feature over all pictures, or many of them, ``[D, D]``."""
        total = sum(self.counts)
        chosen = np.arange(0, total, -(-total // _MOST_PICTURES))
        moments = Moments()
        for part in np.split(chosen, range(_CHUNK, len(chosen), _CHUNK)):
            moments.add(_feature(self.read(part, 0), feature))
        return moments.covariance


class ClassifierPairs(BatchReader):
    """Pairs of a made feature and a name of its class or of a kind that it belongs to.

    Args:
        config: How they are made.
        classifier: Over the backbone's features.
        terms: The names of its classes.
        real: The features to begin with.
        tokenize: Turns texts into token ids.
        count: Pairs a step.
        seed: Of the draws.
        all_captions: Say whose each caption is, as the other sources of the batch do.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        classifier: Classifier,
        terms: Terms,
        real: RealFeatures,
        tokenize: Callable[[Sequence[str]], TokenBatch],
        *,
        count: int,
        seed: int,
        all_captions: bool = False,
    ) -> None:
        super().__init__(count, 0)
        self.config = config
        self.terms = terms
        self.real = real
        self.seed = seed
        self.all_captions = all_captions
        captions = [[form.format(name) for form in config.templates] for name in terms.names]
        self.captions = CaptionTable(captions, tokenize, seed=seed)
        self._weight, self._bias = classifier.weight.double(), classifier.bias.double()
        covariance = real.covariance(config.feature)
        level = config.shrinkage * covariance.diagonal().mean()
        shrunk = (1 - config.shrinkage) * covariance + level * torch.eye(len(covariance))
        self._directions = (self._weight - self._weight.mean(0)) @ shrunk

    def read(self, step: int, places: slice | NDArray[np.int64]) -> Batch:
        """Make the pairs at some places of a step's share."""
        drawn = np.arange(self.batch_size)[places]
        classes = self._integers(_CLASS, step, drawn, len(self._weight))
        total = sum(self.real.counts)
        pictures = self._integers(_PICTURE, step, drawn, total)
        vision = self._made(self.real.read(pictures, step), torch.from_numpy(classes))
        terms = self._terms(step, drawn, classes)
        form = self._integers(_TEMPLATE, step, drawn, len(self.config.templates))
        ids, lengths = self.captions.gather(terms * len(self.config.templates) + form)
        return Batch(
            vision,
            torch.from_numpy(ids),
            torch.from_numpy(lengths),
            torch.arange(len(drawn)) if self.all_captions else None,
            torch.from_numpy(np.stack([classes, terms], axis=1)),
        )

    @property
    def fingerprint(self) -> str:
        """A hash of the classifier and its names."""
        digest = hashlib.sha256(repr((self.terms.names, self.terms.own, self.terms.kinds)).encode())
        digest.update(self._weight.numpy().tobytes() + self._bias.numpy().tobytes())
        return digest.hexdigest()

    def names(self, step: int) -> list[str]:
        """Return what the captions of a step name."""
        drawn = np.arange(self.batch_size)
        classes = self._integers(_CLASS, step, drawn, len(self._weight))
        return [self.terms.names[term] for term in self._terms(step, drawn, classes)]

    def _terms(
        self, step: int, drawn: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Draw a name of each class: its own (half of them the first one) or that of a kind."""
        own = uniform(self.seed, step, drawn, stream=_OWN) < self.config.own_share
        among = uniform(self.seed, step, drawn, stream=_TERM)
        terms = np.empty(len(drawn), dtype=np.int64)
        for row, number in enumerate(classes.tolist()):
            names, kinds = self.terms.own[number], self.terms.kinds[number]
            if kinds and not own[row]:
                terms[row] = kinds[int(among[row] * len(kinds))]
            else:
                terms[row] = names[int(max(2 * among[row] - 1, 0) * len(names))]
        return terms

    def _made(self, tokens: Tokens, classes: Tensor) -> Tokens:
        """Return tokens moved until each is of its class."""
        feature = moved(
            _feature(tokens, self.config.feature).double(),
            classes,
            self._weight,
            self._bias,
            self._directions,
            margin=self.config.margin,
        )
        made = (feature.clamp(min=0) if self.config.clip else feature).float()
        if self.config.feature == "cls":
            return Tokens(made, tokens.registers, tokens.patches, tokens.grid)
        patches = made.unsqueeze(1).expand_as(tokens.patches).contiguous()
        return Tokens(made, tokens.registers, patches, tokens.grid)

    def _integers(
        self, stream: int, step: int, drawn: NDArray[np.int64], limit: int
    ) -> NDArray[np.int64]:
        numbers = uniform(self.seed, step, drawn, stream=stream) * limit
        return np.minimum(numbers.astype(np.int64), limit - 1)


def moved(
    features: Tensor,
    classes: Tensor,
    weight: Tensor,
    bias: Tensor,
    directions: Tensor,
    *,
    margin: float,
) -> Tensor:
    """Move features ``[n, D]`` along their classes' directions, no further than is needed.

    Args:
        features: Where to begin.
        classes: ``[n]``.
        weight: The classifier's, ``[C, D]``.
        bias: The classifier's, ``[C]``.
        directions: Of each class, ``[C, D]``.
        margin: By how many logits the class leads each other one afterwards.
    """
    rows = torch.arange(len(features))
    logits, slopes = features @ weight.T + bias, directions[classes] @ weight.T
    lead = logits[rows, classes].unsqueeze(1) - logits
    gain = slopes[rows, classes].unsqueeze(1) - slopes
    far = (margin - lead) / gain.clamp(min=_LEAST_SLOPE)
    far[(gain <= _LEAST_SLOPE)] = 0
    return features + far.amax(1, keepdim=True).clamp(min=0) * directions[classes]


def _feature(tokens: Tokens, kind: str) -> Tensor:
    return tokens.cls if kind == "cls" else tokens.patches.mean(1)
