"""The text encoder on captions of real lengths against the same padded to 77 tokens."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from dinotxt.models.config import PRESETS
from dinotxt.models.text import TextEncoder
from harness import Figure, main, paired_rates

_CONTEXT = 77
_MEAN_TOKENS, _DEVIATION, _FEWEST, _MOST = 13.8, 4.0, 5, 40  # CLIP tokens of Flickr8k captions
_TOLERANCE = 1e-5


def measure(quick: bool) -> dict[str, Figure]:
    """Measure the forward pass and a training step, and check that features agree."""
    batch, runs = (64, 3) if quick else (256, 7)
    torch.manual_seed(0)
    encoder = TextEncoder(PRESETS["small"], 768)
    ids, lengths = _captions(batch)
    padded, full = ids, torch.full_like(lengths, _CONTEXT)
    _check(encoder, ids, lengths)
    rate = partial(paired_rates, work=batch, unit="texts/s", runs=runs)
    return {
        "forward": rate(lambda: _forward(encoder, ids, lengths), lambda: _dense(encoder, padded)),
        "train": rate(lambda: _train(encoder, ids, lengths), lambda: _train(encoder, padded, full)),
    }


def _captions(batch: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(0)
    drawn = generator.normal(_MEAN_TOKENS, _DEVIATION, batch).round()
    lengths = torch.from_numpy(drawn.clip(_FEWEST, _MOST).astype(np.int64))
    ids = torch.from_numpy(generator.integers(1, 49000, (batch, _CONTEXT)))
    return ids.where(torch.arange(_CONTEXT) < lengths.unsqueeze(1), 0), lengths


@torch.inference_mode()
def _forward(encoder: TextEncoder, ids: Tensor, lengths: Tensor) -> Tensor:
    features: Tensor = encoder(ids, lengths)
    return features


@torch.inference_mode()
def _dense(encoder: TextEncoder, ids: Tensor) -> Tensor:
    """Compute every one of the 77 tokens, as the public code does."""
    features: Tensor = encoder(ids, torch.full((len(ids),), _CONTEXT))
    return features


def _train(encoder: TextEncoder, ids: Tensor, lengths: Tensor) -> None:
    encoder.zero_grad()
    encoder(ids, lengths).square().sum().backward()


def _check(encoder: TextEncoder, ids: Tensor, lengths: Tensor) -> None:
    """Hold packed features against each text alone, unpadded."""
    packed = _forward(encoder, ids, lengths)
    for row in range(8):
        length = int(lengths[row])
        alone = _forward(encoder, ids[row : row + 1, :length], lengths[row : row + 1])
        if not torch.allclose(packed[row], alone[0], rtol=_TOLERANCE, atol=_TOLERANCE):
            raise SystemExit("packed features differ from those of a text alone")


if __name__ == "__main__":
    main("text_packing", measure)
