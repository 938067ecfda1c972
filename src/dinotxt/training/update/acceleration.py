"""Options that trade time against memory or precision: autocast, compilation, checkpointing."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dinotxt.models.text import TextBlock
from dinotxt.models.vision import VisionBlock
from dinotxt.training.config import ComputeConfig

_log = logging.getLogger(__name__)


def autocast(config: ComputeConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which matrices are multiplied in the precision of the run.

    A device without bfloat16 stays in float32, with a warning.
    """
    if config.precision == "float32":
        return nullcontext()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        _log.warning("%s has no bfloat16: the run stays in float32.", device)
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def accelerate(blocks: Sequence[nn.Module], config: ComputeConfig) -> None:
    """Make blocks compile or forget their activations as the configuration says."""
    for block in blocks:
        if config.compile:
            _compile(block)
        if config.activation_checkpointing:
            # The random state is restored, so dropout is drawn as in the first pass.
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _compile(block: nn.Module) -> None:
    """Compile what of a block maps tensors to tensors, whatever their lengths."""
    if isinstance(block, VisionBlock):
        block.branch = torch.compile(block.branch)  # type: ignore[method-assign]
    elif isinstance(block, TextBlock):
        block.feed_forward.compile()
    else:
        block.compile()
