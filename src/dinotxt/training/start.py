"""What the trained parameters of a new run start from: a saved model, or a closed form.

The closed form is a ridge regression from pooled image tokens to whitened caption vectors. For few
pairs it beats what contrastive training reaches from random weights, above all where the captions
name few of the things that patches show; the training then only refines it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.checkpoints.format import read_trained
from dinotxt.errors import ConfigError
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.text import PretrainedTextEncoder
from dinotxt.models.vision import RawCls, Standardize
from dinotxt.training.config import ModelStartConfig, RidgeConfig
from dinotxt.training.feed import Batches, Moments, as_pooled, move

_PAIRS = 128
_STD_FLOOR = 1e-3
_STD_SHARE = 0.1  # of the mean deviation, so that channels that hardly vary stay quiet
_EIGENVALUE_FLOOR = 1e-4  # of the largest one


def start(
    model: DinoTxt,
    batches: Sequence[Batches],
    config: RidgeConfig | ModelStartConfig,
    *,
    device: torch.device,
) -> None:
    """Set the trained parameters of a model in eval mode on ``device``.

    Raises:
        ConfigError: If the model does not suit the start.
        CheckpointError: If a saved model cannot be loaded, or is of another architecture.
    """
    if isinstance(config, RidgeConfig):
        start_from_ridge(model, batches, config, device=device)
        return
    if not config.path.is_dir():
        raise ConfigError(f"start.path: there is no model folder {config.path}: train it first.")
    saved = read_trained(config.path)
    model.load_trainable(saved | _fresh(model, config.fresh), config.path)


def _fresh(model: DinoTxt, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the parameters of a model whose names begin so."""
    own = model.trainable_state_dict()
    unknown = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in own)]
    if unknown:
        raise ConfigError(f"start.fresh: no trained parameter's name begins with {unknown[0]}.")
    return {name: value for name, value in own.items() if name.startswith(prefixes)}


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parameters that the regression sets."""

    norm: Standardize
    vision: nn.Linear
    text: nn.Linear
    raw: RawCls | None
    cls_text: nn.Sequential | None


@torch.no_grad()
def start_from_ridge(
    model: DinoTxt, batches: Sequence[Batches], config: RidgeConfig, *, device: torch.device
) -> None:
    """Set the head's norm and projection and the text projection of a model.

    The text projection centres and whitens the encoder's vectors; the vision projection is the
    ridge solution from the standardised average patch of each picture to the mean of its
    captions' whitened vectors. Both outputs have length 1 in the mean square.

    Args:
        model: The model on ``device``, in eval mode.
        batches: The batches of each source, for their pictures and captions.
        config: The settings.
        device: Where to compute tokens and vectors.

    Raises:
        ConfigError: If the model is not a linear head on a pretrained text encoder.
    """
    parts = _parts(model)
    joint, captions, raw = Moments(), Moments(), Moments()
    width = parts.vision.in_features
    vectors = (_vectors(model, source, config.passes, device) for source in batches)
    for image, cls, text, mean_text in chain.from_iterable(vectors):
        joint.add(torch.cat([image, mean_text], dim=1))
        captions.add(text)
        if parts.raw is not None:
            raw.add(parts.raw.raised(cls))
    whiten = _whitening(captions.covariance, config.whitening)
    mean, covariance = joint.mean[:width], joint.covariance
    deviation = covariance[:width, :width].diagonal().clamp(min=0).sqrt() + _STD_FLOOR
    gram = covariance[:width, :width] / torch.outer(deviation, deviation)
    target = covariance[:width, width:] @ whiten / deviation.unsqueeze(1)
    penalty = config.penalty * torch.eye(width, dtype=gram.dtype)
    weight = torch.linalg.solve(gram + penalty, target)
    offset = joint.mean[width:] - captions.mean
    text_moment = covariance[width:, width:] + torch.outer(offset, offset)
    text_length = (whiten.T @ text_moment @ whiten).trace().sqrt()
    image_length = (weight.T @ gram @ weight).trace().sqrt()
    parts.norm.set_statistics(mean, deviation)
    _fill(parts.vision.weight, weight.T / image_length)
    _fill(parts.vision.bias, torch.zeros(len(whiten)))
    _fill(parts.text.weight, whiten.T / text_length)
    _fill(parts.text.bias, -(captions.mean @ whiten) / text_length)
    _start_cls_half(parts, raw, captions)


def _start_cls_half(parts: _Parts, raw: Moments, captions: Moments) -> None:
    """Set the norms of the raw cls half; its texts start at the mean picture."""
    if parts.raw is not None:
        deviation = raw.covariance.diagonal().clamp(min=0).sqrt()
        parts.raw.norm.set_statistics(raw.mean, deviation + _STD_SHARE * deviation.mean())
    if parts.cls_text is not None:
        norm, last = parts.cls_text[0], parts.cls_text[-1]
        assert isinstance(norm, Standardize)
        assert isinstance(last, nn.Linear)
        mean = captions.mean
        norm.set_statistics(mean, captions.covariance.trace().div(len(mean)).sqrt().expand_as(mean))
        if parts.raw is not None:
            _fill(last.bias, F.normalize(parts.raw.scaled(parts.raw.norm.mean), dim=0))


def _parts(model: DinoTxt) -> _Parts:
    head, text = model.vision_head, getattr(model.text_encoder, "projection", None)
    norm, vision = head.input_norm, head.input_projection
    cls_text = getattr(model.text_encoder, "cls_projection", None)
    has_own_half = head.config.pooling == "cls_avg" and cls_text is not None
    is_pooled = head.config.pooling == "avg" or has_own_half
    is_linear = not head.blocks and is_pooled and isinstance(norm, Standardize)
    if not (is_linear and isinstance(vision, nn.Linear) and isinstance(text, nn.Linear)):
        raise ConfigError(
            "start.kind: ridge needs vision_head {num_blocks: 0, input_norm: standard, dim: D, "
            "pooling: avg, or cls_avg with text_encoder.cls_hidden} and a text encoder with one "
            "linear projection."
        )
    if text.in_features != text.out_features or text.bias is None:
        raise ConfigError(
            f"start.kind: ridge needs vision_head.dim {text.in_features}, the text encoder's width."
        )
    assert isinstance(norm, Standardize)
    return _Parts(norm, vision, text, head.raw_cls, cls_text)


def _vectors(
    model: DinoTxt, batches: Batches, passes: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield average patches and cls ``[b, D]``, caption vectors ``[t, H]``, means ``[b, H]``."""
    for start in range(0, batches.num_items, _PAIRS):
        pairs = np.arange(start, min(start + _PAIRS, batches.num_items))
        views = [batches.vision.read(pairs, number)[:2] for number in range(passes)]
        read = views[0][1]  # a picture that cannot be read fails in every pass
        if not len(read):
            continue
        chosen, rows = batches.captions.of(read)
        text = _caption_vectors(model, batches, chosen, device)
        owners = torch.from_numpy(rows)
        sums = text.new_zeros(len(read), text.shape[1]).index_add_(0, owners, text)
        means = sums / owners.bincount(minlength=len(read)).unsqueeze(1)
        for vision, _ in views:
            tokens = model.backbone(vision.to(device)) if isinstance(vision, Tensor) else vision
            pooled = as_pooled(move(tokens, device), "avg")
            yield pooled.patches[:, 0].cpu(), pooled.cls.cpu(), text, means


def _caption_vectors(
    model: DinoTxt, batches: Batches, captions: np.ndarray, device: torch.device
) -> Tensor:
    """Return what the text projection gets, ``[t, H]``, in the order of the captions."""
    ids, lengths = (torch.from_numpy(part).to(device) for part in batches.captions.gather(captions))
    pool = cast(PretrainedTextEncoder, model.text_encoder).pool
    return pool(ids, lengths).cpu()


def _whitening(covariance: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    raised = (values.clamp(min=0) + _EIGENVALUE_FLOOR * values.max()) ** (-power / 2)
    whiten: Tensor = vectors @ raised.diag() @ vectors.T
    return whiten


def _fill(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(values.to(parameter.dtype))
