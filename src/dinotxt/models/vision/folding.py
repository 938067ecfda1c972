"""Folding batch norms into the convolutions before them, for backbones that never train."""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_logger = logging.getLogger(__name__)

_PROBE_SIZE = (64, 64)
_TOLERANCE = 1e-4


def fold_batch_norms(module: Any, in_channels: int) -> bool:
    """Fold every batch norm that follows a convolution, in place, and use channels-last weights.

    The order of registration tells what follows what; a random picture checks that the features
    stay the same, and if they do not the module is left as it was.

    Args:
        module: A convolutional network in eval mode with timm's ``forward_features``.
        in_channels: Channels of its input.

    Returns:
        Whether the norms were folded.
    """
    generator = torch.Generator().manual_seed(0)
    published = getattr(module, "default_cfg", None) or {}
    size = published["input_size"][-2:] if published.get("fixed_input_size") else _PROBE_SIZE
    probe = torch.randn(1, in_channels, *size, generator=generator)
    with torch.no_grad():
        before = module.forward_features(probe)
        undo = _fold_children(module)
        after = module.forward_features(probe)
    if not _same(before, after):
        for parent, name, child in reversed(undo):
            setattr(parent, name, child)
        _logger.warning("Batch norms were not folded: this network applies them elsewhere.")
        return False
    module.to(memory_format=torch.channels_last)
    return True


def _fold_children(module: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Fold below ``module``; return what was replaced, to undo it."""
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if previous is not None and _foldable(previous[1], child):
            conv_name, conv = previous
            undo += [(module, conv_name, conv), (module, name, child)]
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(child, nn.BatchNorm2d)
            setattr(module, conv_name, fuse_conv_bn_eval(conv, child))
            setattr(module, name, _remainder(child))
        else:
            undo += _fold_children(child)
        previous = (name, child)
    return undo


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        isinstance(conv, nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.num_features == conv.out_channels
        and norm.running_var is not None
    )


def _remainder(norm: nn.Module) -> nn.Module:
    """Return what timm's norm layers do after normalising: the activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _same(before: Tensor, after: Tensor) -> bool:
    if before.shape != after.shape:
        return False
    scale = before.abs().max().clamp_min(1e-12)
    return bool((before - after).abs().max() <= _TOLERANCE * scale)
