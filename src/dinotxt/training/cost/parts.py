"""The parts of a training's cost: operations by tower, with and without caches, and storage."""

from dataclasses import replace
from typing import Any

import torch

from dinotxt.models.config import TransformerTextConfig
from dinotxt.models.text import TextEncoder
from dinotxt.models.vision import VisionHead
from dinotxt.training.config import TrainConfig
from dinotxt.training.cost.ledger import Ledger, StepFlops
from dinotxt.training.feed.vision import needed_patches

_GIGA = 1e9
_GIB = float(1 << 30)
_HALF_BYTES = 2
_STATE_BYTES = 12  # of a trained weight in a checkpoint: fp32, and AdamW's two moments
_MILLION = 1_000_000


def part_rows(config: TrainConfig, caption_tokens: float) -> list[dict[str, Any]]:
    """Return the GFLOPs of one pair of a step by tower, for each way to run it.

    Args:
        config: The run.
        caption_tokens: Real tokens of a caption on average.

    Raises:
        ConfigError: If a tower is not known.
    """
    ledger = Ledger.planned(config)
    full = config.model.text_encoder.context_length
    packed = min(caption_tokens, full)
    rows = [
        _row(f"{full} tokens", config, ledger, full),
        _row(f"packed to {packed:g}", config, ledger, packed),
    ]
    if config.model.backbone.frozen and config.data.cache is None:
        cached = config.model_copy(
            update={"data": config.data.model_copy(update={"cache": config.output})}
        )
        kind = "pooled" if needed_patches(config) else "all tokens"
        name = f"packed, {kind} cached"
        rows.append(_row(name, cached, Ledger.planned(cached), packed))
    if ledger.passes == 1:
        name = "packed, gradient caching"
        rows.append(_row(name, config, replace(ledger, passes=2), packed))
    return rows


def storage_rows(config: TrainConfig, pairs: int | None) -> list[dict[str, Any]]:
    """Return what a run and its caches take on the disk.

    Args:
        config: The run.
        pairs: Pictures to cache; None: a million of them.
    """
    ledger = Ledger.planned(config)
    count = pairs or _MILLION
    tokens = 1 + ledger.backbone.num_registers + ledger.backbone.num_patches
    width = ledger.backbone.width
    trained = trained_parameters(config)
    sizes: dict[str, float] = {}
    if config.model.backbone.frozen:
        sizes[f"cache of {count:,} pictures, all tokens"] = _HALF_BYTES * tokens * width * count
        sizes[f"cache of {count:,} pictures, pooled"] = _HALF_BYTES * 2 * width * count
    sizes |= {
        f"checkpoints ({config.checkpoint.keep})": (
            _STATE_BYTES * trained * config.checkpoint.keep
        ),
        "model": (4 if config.checkpoint.model_dtype == "float32" else 2) * trained,
    }
    return [{"what": name, "gib": float(f"{size / _GIB:.4g}")} for name, size in sizes.items()]


def trained_parameters(config: TrainConfig) -> int:
    """Return how many parameters a run trains, without building what is frozen."""
    ledger = Ledger.planned(config)
    with torch.device("meta"):
        head = VisionHead(config.model.vision_head, ledger.backbone.width)
        count = sum(value.numel() for value in head.parameters())
        if isinstance(config.model.text_encoder, TransformerTextConfig):
            text = TextEncoder(config.model.text_encoder, ledger.embed_dim)
            count += sum(value.numel() for value in text.parameters())
    if not isinstance(config.model.text_encoder, TransformerTextConfig):
        flops = ledger.text
        layer = 4 * flops.width**2 + 2 * flops.width * flops.hidden
        count += flops.trained_layers * layer + int(flops.projection / 2)
    return count if config.model.backbone.frozen else count + ledger.backbone.parameters


def _row(name: str, config: TrainConfig, ledger: Ledger, tokens: float) -> dict[str, Any]:
    flops = ledger.step(config.batch_size, [tokens] * config.batch_size)
    return {"variant": name, **_gflops(flops, config.batch_size)}


def _gflops(flops: StepFlops, batch_size: int) -> dict[str, float]:
    named = {
        "frozen": flops.frozen,
        "vision": flops.vision,
        "text": flops.text,
        "loss": flops.loss,
        "total": flops.total,
    }
    return {key: float(f"{value / batch_size / _GIGA:.5g}") for key, value in named.items()}
