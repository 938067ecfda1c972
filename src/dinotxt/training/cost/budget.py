"""What a run costs before it is run: GPU-hours, energy and storage, beside the paper's Table 7."""

from dataclasses import dataclass

from dinotxt.training.config import TrainConfig
from dinotxt.training.cost.ledger import Ledger

_PAPER_TOKENS = 77  # a text of full length, as every public code computes it
_POWER_OVERHEAD = 1.1  # of a data centre; DINOv2 (Oquab et al., 2023) reckons with the same


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        name: As Table 7 writes it.
        teraflops: Its peak with 16-bit inputs, in 1e12 FLOP/s (the maker's data sheet, dense).
        watts: Its power limit.
    """

    name: str
    teraflops: float
    watts: float


GPUS = {
    "v100": Gpu("V100", 125.0, 300.0),
    "a100-40": Gpu("A100 40 GB", 312.0, 400.0),
    "a100": Gpu("A100 80 GB", 312.0, 400.0),
    "h100": Gpu("H100", 989.0, 700.0),
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
