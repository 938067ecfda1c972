"""What a run costs before it is run: GPU-hours, energy and storage, beside the paper's Table 7."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from dinotxt.models.config import TransformerTextConfig
from dinotxt.models.text import TextEncoder
from dinotxt.models.vision import VisionHead
from dinotxt.training.config import TrainConfig
from dinotxt.training.cost.ledger import Ledger, StepFlops
from dinotxt.training.feed import needed_patches

_PAPER_TOKENS = 77  # a text of full length, as every public code computes it
_POWER_OVERHEAD = 1.1  # of a data centre; DINOv2 (Oquab et al., 2023) reckons with the same
_GIGA = 1e9
_GIB = float(1 << 30)
_HALF_BYTES = 2
_STATE_BYTES = 12  # of a trained weight in a checkpoint: fp32, and AdamW's two moments
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        name: As Table 7 writes it.
        teraflops: Its peak with 16-bit inputs, in 1e12 FLOP/s (the maker's data sheet, dense).
        full_teraflops: Its peak in float32 without TF32, as PyTorch multiplies unless told else.
        watts: Its power limit.
    """

    name: str
    teraflops: float
    full_teraflops: float
    watts: float

    def computing(self, precision: str) -> "Gpu":
        """Return the GPU with the peak of a run's precision."""
        return replace(self, teraflops=self.full_teraflops) if precision == "float32" else self


GPUS = {
    "v100": Gpu("V100", 125.0, 15.7, 300.0),
    "a100-40": Gpu("A100 40 GB", 312.0, 19.5, 400.0),
    "a100": Gpu("A100 80 GB", 312.0, 19.5, 400.0),
    "h100": Gpu("H100", 989.0, 67.0, 700.0),
}


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """A row of Table 7, and the recipe that comes nearest to it.

    Attributes:
        method: As the table names it.
        samples: Pairs seen; None: not stated.
        batch_size: Likewise.
        num_gpus: How many.
        gpu_hours: In all; None: not stated.
        gpu: The key of ``GPUS``.
        recipe: Whose GFLOPs a sample are taken; None: not a training on pairs.
    """

    method: str
    samples: float | None
    batch_size: int | None
    num_gpus: int | None
    gpu_hours: float | None
    gpu: str
    recipe: str | None


TABLE_7 = (
    PublishedRun("CLIP", 12.8e9, 32768, 256, 73728, "v100", "table1-clip"),
    PublishedRun("OpenCLIP", 12.8e9, 38400, 400, 50800, "a100-40", "table1-clip"),
    PublishedRun("MetaCLIP", 12.8e9, 32768, 128, 92160, "v100", "table1-clip"),
    PublishedRun("EVA-02-CLIP", 2e9, 61000, 128, None, "a100-40", "table1-clip"),
    PublishedRun("DINOv2 ViT-g pretraining", None, None, 256, 22000, "a100", None),
    PublishedRun("DINOv2 ViT-L distillation", None, None, None, 8000, "a100", None),
    PublishedRun("dino.txt", 3.2e9, 65536, 128, 2432, "a100", "table3-curation"),
    PublishedRun("dino.txt @336", 3.2e9, 65536, 256, 4096, "a100", "table5-336"),
)
"""Table 7 of the paper: the cost of different models in GPU-hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a number of training samples takes.

    Attributes:
        method: What is trained.
        samples: Pairs seen; None: not known.
        batch_size: Pairs a step.
        num_gpus: How many; None: not known.
        gpu: Their kind.
        gflops_a_sample: A pair's share of the training; None: no formula.
        gpu_hours: By the formula and the utilisation.
        gpu_hours_paper: As Table 7 states it.
        hours: With so many GPUs.
        megawatt_hours: Energy, from the paper's GPU-hours where it has them.
    """

    method: str
    samples: float | None
    batch_size: int | None
    num_gpus: int | None
    gpu: str
    gflops_a_sample: float | None
    gpu_hours: float | None
    gpu_hours_paper: float | None
    hours: float | None
    megawatt_hours: float | None

    def to_dict(self) -> dict[str, str | float | int | None]:
        """Return the row of the JSON, rounded to what an estimate can claim."""
        return {
            "method": self.method,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "gpus": self.num_gpus,
            "gpu": self.gpu,
            "gflops_a_sample": _rounded(self.gflops_a_sample),
            "gpu_hours": _rounded(self.gpu_hours),
            "gpu_hours_paper": self.gpu_hours_paper,
            "hours": _rounded(self.hours),
            "megawatt_hours": _rounded(self.megawatt_hours),
        }


def table_7(utilisation: float) -> list[Estimate]:
    """Return the rows of Table 7 with our estimates beside them.

    Args:
        utilisation: The share of a GPU's peak that training reaches.
    """
    gflops = {
        name: gflops_a_sample(TrainConfig.from_yaml(name), _PAPER_TOKENS)
        for name in dict.fromkeys(run.recipe for run in TABLE_7 if run.recipe)
    }
    return [
        estimate(
            run.method,
            gpu=GPUS[run.gpu],
            utilisation=utilisation,
            samples=run.samples,
            gflops=gflops[run.recipe] if run.recipe else None,
            paper=run,
        )
        for run in TABLE_7
    ]


def estimate(
    method: str,
    *,
    gpu: Gpu,
    utilisation: float,
    samples: float | None,
    gflops: float | None,
    num_gpus: int | None = None,
    batch_size: int | None = None,
    paper: PublishedRun | None = None,
) -> Estimate:
    """Return the cost of training on a number of samples.

    Args:
        method: What is trained.
        gpu: The kind of GPU.
        utilisation: The share of its peak that training reaches.
        samples: Pairs seen.
        gflops: Of one pair, in 1e9.
        num_gpus: How many GPUs share the work.
        batch_size: Pairs a step.
        paper: The row of Table 7 that it stands beside.
    """
    hours = None
    if samples is not None and gflops is not None:
        hours = samples * gflops * 1e9 / (gpu.teraflops * 1e12 * utilisation) / 3600
    stated = paper.gpu_hours if paper else None
    count = paper.num_gpus if paper else num_gpus
    spent = stated or hours
    return Estimate(
        method=method,
        samples=samples,
        batch_size=paper.batch_size if paper else batch_size,
        num_gpus=count,
        gpu=gpu.name,
        gflops_a_sample=gflops,
        gpu_hours=hours,
        gpu_hours_paper=stated,
        hours=spent / count if spent and count else None,
        megawatt_hours=None if spent is None else spent * gpu.watts * _POWER_OVERHEAD / 1e6,
    )


def gflops_a_sample(config: TrainConfig, caption_tokens: float) -> float:
    """Return a pair's share of a training step, in 1e9 FLOP, with texts of so many tokens."""
    flops = Ledger.planned(config).step(config.batch_size, [caption_tokens] * config.batch_size)
    return flops.total / config.batch_size / 1e9


def paper_utilisation() -> float:
    """Return the share of the A100's peak that the paper's main run reached, by our formula."""
    run = next(run for run in TABLE_7 if run.method == "dino.txt")
    assert run.recipe is not None
    assert run.samples is not None
    assert run.gpu_hours is not None
    gflops = gflops_a_sample(TrainConfig.from_yaml(run.recipe), _PAPER_TOKENS)
    return run.samples * gflops * 1e9 / (run.gpu_hours * 3600 * GPUS[run.gpu].teraflops * 1e12)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


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
    if config.model.backbone.frozen and not config.data.is_cached:
        cached = replace(config, data=replace(config.data, **_as_cached(config)))
        kind = "pooled" if needed_patches(config) else "all tokens"
        name = f"packed, {kind} cached"
        rows.append(_row(name, cached, Ledger.planned(cached), packed))
    if ledger.passes == 1:
        name = "packed, gradient caching"
        rows.append(_row(name, config, replace(ledger, passes=2), packed))
    return rows


def _as_cached(config: TrainConfig) -> dict[str, Any]:
    """Return the keys of the data that give every source a cache."""
    if isinstance(config.data.train, str):
        return {"cache": config.output}
    return {"train": tuple(replace(one, cache=config.output) for one in config.data.train)}


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
