"""Retrieval on the validation pairs, in the loop."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from dinotxt.errors import DataError
from dinotxt.metrics.recall import retrieval_ranks
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import Tokens
from dinotxt.results.skip import OnSkip, Skip
from dinotxt.training.distributed import World
from dinotxt.training.feed.batches import VisionSource, hear_parent_alone
from dinotxt.training.feed.captions import CaptionTable
from dinotxt.training.feed.vision import as_pooled, move, pooled_kind

Part = TypeVar("Part")
_PICTURES = 64
_CAPTIONS = 512


class Validation:
    """Measures text-to-image and image-to-text recall of a model as it trains.

    The tokens of a frozen backbone are computed at the first call and kept (fp16, pooled where
    the vision head has no blocks).

    Args:
        vision: The pictures or cached tokens of the validation pairs.
        num_pairs: How many there are.
        captions: Their captions.
        world: The processes, each of which does a part, and the device of this one.
        num_workers: Processes that decode pictures.
        on_skip: Hears of pictures that cannot be read.
    """

    def __init__(
        self,
        vision: VisionSource,
        captions: CaptionTable,
        *,
        num_pairs: int,
        world: World,
        num_workers: int = 0,
        on_skip: OnSkip | None = None,
    ) -> None:
        self.vision = vision
        self.captions = captions
        self.num_pairs = num_pairs
        self.world = world
        self.device = world.device
        self.num_workers = num_workers
        self.on_skip = on_skip
        self._mine = slice(world.rank, None, world.size)
        self._kept: list[tuple[Tokens, NDArray[np.int64]]] | None = None

    @torch.no_grad()
    def __call__(self, model: DinoTxt) -> dict[str, float]:
        """Return recall at 1, 5 and 10 in both directions; the model stays in its mode.

        Raises:
            DataError: If not one picture can be read.
        """
        training = model.training
        model.eval()
        parts = self._join(list(self._image_features(model)))
        if not parts:
            raise DataError(
                "not one picture of the validation pairs can be read: look at data.val."
            )
        images, pairs = zip(*parts, strict=True)
        captions, owners = self.captions.of(np.concatenate(pairs))
        own_texts = [self._text_features(model, part) for part in _parts(captions)[self._mine]]
        texts = self._join(own_texts)
        model.train(training)
        ranks = retrieval_ranks(_unit(torch.cat(images)), _unit(torch.cat(texts)), owners)
        return ranks.metrics()

    def _join(self, own: list[Part]) -> list[Part]:
        """Return the parts of all processes in the order that one alone has."""
        rows = zip_longest(*self.world.gather(own))
        return [part for row in rows for part in row if part is not None]

    def _image_features(self, model: DinoTxt) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        if not model.backbone.config.frozen:
            for vision, pairs in self._read():
                tokens = self._tokens(model, vision)
                yield model.encode_tokens(tokens).cpu(), pairs
            return
        if self._kept is None:
            self._kept = []
            kind = pooled_kind(model.vision_head.config)
            for vision, pairs in self._read():
                tokens = as_pooled(self._tokens(model, vision), kind)
                self._kept.append((move(tokens, torch.device("cpu"), torch.float16), pairs))
        for tokens, pairs in self._kept:
            yield model.encode_tokens(move(tokens, self.device, torch.float32)).cpu(), pairs

    def _tokens(self, model: DinoTxt, vision: Tensor | Tokens) -> Tokens:
        if isinstance(vision, Tokens):
            return move(vision, self.device, torch.float32)
        tokens: Tokens = model.backbone(vision.to(self.device))
        return tokens

    def _read(self) -> Iterator[tuple[Tensor | Tokens, NDArray[np.int64]]]:
        chunks = _Chunks(self.vision, self.num_pairs)
        lost: list[Skip] = []
        for vision, pairs, skipped in DataLoader(
            chunks,
            batch_size=None,
            sampler=range(len(chunks))[self._mine],
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=hear_parent_alone,
        ):
            lost += skipped
            if len(pairs):
                yield vision, pairs
        for skip in self.world.collect(lost):
            if self.on_skip is not None:
                self.on_skip(skip)

    def _text_features(self, model: DinoTxt, captions: NDArray[np.int64]) -> Tensor:
        ids, lengths = (torch.from_numpy(part) for part in self.captions.gather(captions))
        return model.encode_text(ids.to(self.device), lengths.to(self.device)).cpu()


class _Chunks(torch.utils.data.Dataset[object]):
    def __init__(self, vision: VisionSource, num_pairs: int) -> None:
        self.vision = vision
        self.num_pairs = num_pairs

    def __len__(self) -> int:
        return -(-self.num_pairs // _PICTURES)

    def __getitem__(self, number: int) -> object:
        start = number * _PICTURES
        pairs = np.arange(start, min(start + _PICTURES, self.num_pairs))
        return self.vision.read(pairs, 0)


def _as_it_is(item: object) -> object:
    return item


def _parts(captions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(captions, range(_CAPTIONS, len(captions), _CAPTIONS))


def _unit(features: Tensor) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = F.normalize(features.float(), dim=-1).cpu().numpy()
    return unit
