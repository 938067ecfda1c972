"""Retrieval on the validation pairs, in the loop."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from dinotxt.metrics.recall import retrieval_ranks
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.tokens import Tokens
from dinotxt.results.skip import Skip
from dinotxt.training.batches import VisionSource
from dinotxt.training.captions import CaptionTable
from dinotxt.training.vision import as_pooled, move, pooled_kind

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
        device: Where the model is.
        num_workers: Processes that decode pictures.
        on_skip: Hears of pictures that cannot be read.
    """

    def __init__(
        self,
        vision: VisionSource,
        captions: CaptionTable,
        *,
        num_pairs: int,
        device: torch.device,
        num_workers: int = 0,
        on_skip: Callable[[Skip], None] | None = None,
    ) -> None:
        self.vision = vision
        self.captions = captions
        self.num_pairs = num_pairs
        self.device = device
        self.num_workers = num_workers
        self.on_skip = on_skip
        self._kept: list[tuple[Tokens, NDArray[np.int64]]] = []

    @torch.no_grad()
    def __call__(self, model: DinoTxt) -> dict[str, float]:
        """Return recall at 1, 5 and 10 in both directions; the model stays in its mode."""
        training = model.training
        model.eval()
        images, pairs = zip(*self._image_features(model), strict=True)
        captions, owners = self.captions.of(np.concatenate(pairs))
        texts = [self._text_features(model, part) for part in _parts(captions)]
        model.train(training)
        ranks = retrieval_ranks(_unit(torch.cat(images)), _unit(torch.cat(texts)), owners)
        return ranks.metrics()

    def _image_features(self, model: DinoTxt) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        if not model.backbone.config.frozen:
            for vision, pairs in self._read():
                tokens = self._tokens(model, vision)
                yield model.encode_tokens(tokens), pairs
            return
        if not self._kept:
            kind = pooled_kind(model.vision_head.config)
            for vision, pairs in self._read():
                tokens = as_pooled(self._tokens(model, vision), kind)
                self._kept.append((move(tokens, torch.device("cpu"), torch.float16), pairs))
        for tokens, pairs in self._kept:
            yield model.encode_tokens(move(tokens, self.device, torch.float32)), pairs

    def _tokens(self, model: DinoTxt, vision: Tensor | Tokens) -> Tokens:
        if isinstance(vision, Tokens):
            return move(vision, self.device, torch.float32)
        tokens: Tokens = model.backbone(vision.to(self.device))
        return tokens

    def _read(self) -> Iterator[tuple[Tensor | Tokens, NDArray[np.int64]]]:
        chunks = _Chunks(self.vision, self.num_pairs)
        for vision, pairs, skipped in DataLoader(
            chunks,
            batch_size=None,
            sampler=range(len(chunks)),
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
        ):
            for skip in skipped:
                if self.on_skip is not None:
                    self.on_skip(skip)
            yield vision, pairs

    def _text_features(self, model: DinoTxt, captions: NDArray[np.int64]) -> Tensor:
        ids, lengths = (torch.from_numpy(part) for part in self.captions.gather(captions))
        return model.encode_text(ids.to(self.device), lengths.to(self.device))


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
