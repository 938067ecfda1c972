"""What a curation costs before it is run: core-hours, memory, storage and tasks of each stage.

The rates are those that ``benchmarks/`` measures for one core; ``docs/scale.md`` says where each
comes from. Costs are counted from the algorithms, so that they hold for any pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from dinotxt.cluster import block_rows
from dinotxt.curation.config import CurationConfig, ImageConfig
from dinotxt.curation.pictures import needs_split, num_cells, sample_points
from dinotxt.curation.pool import table_records
from dinotxt.curation.stage import read_report
from dinotxt.errors import ConfigError
from dinotxt.files import read_json

_HOUR = 3600.0
_GIB = float(1 << 30)
_CAPTION_BYTES = 110  # of a row of the pool's tables, compressed
_MATCH_BYTES = 25  # of a row of entry ids, compressed
_MATCHER_GIB = 0.35
_FIGURES = {
    "read": "read_rate",
    "match": "match_rate",
    "balance": "balance_rate",
    "gflops": "kmeans_gflops",
    "draw": "draw_rate",
}  # of benchmarks/curation_scaling.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one core does in a second.

    Attributes:
        read: Pairs read from tars of small files into tables, repeated ids left out.
        match: Captions matched against 500,000 entries.
        balance: Captions whose keep probability is computed and flagged.
        embed: Pictures embedded by the model; by default a ViT-L/14 at 224 pixels.
        gflops: Floating point operations of k-means, in units of 1e9.
        draw: Pairs whose two probabilities are joined and that are drawn.
    """

    read: float = 5_000
    match: float = 80_000
    balance: float = 70_000
    embed: float = 0.4
    gflops: float = 50
    draw: float = 500_000

    def measured(self, path: Path) -> Self:
        """Return these rates with those of a report of ``benchmarks/curation_scaling.py``.

        Raises:
            DataError: If the file is missing or no JSON.
            ConfigError: If it is another report.
        """
        content = read_json(path)
        figures = content.get("figures", {}) if isinstance(content, dict) else {}
        missing = sorted(set(_FIGURES.values()) - set(figures))
        if missing:
            raise ConfigError(
                f"{path} has no {', '.join(missing)}: make it with "
                f"`python benchmarks/curation_scaling.py --json {path}`."
            )
        return replace(
            self, **{field: float(figures[key]["value"]) for field, key in _FIGURES.items()}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one stage takes.

    Attributes:
        stage: Its name.
        core_hours: Hours of one core.
        memory_gib: The most that one worker holds.
        storage_gib: What it leaves on the disk.
        tasks: Independent tasks; no more workers than this are of use.
    """

    stage: str
    core_hours: float
    memory_gib: float
    storage_gib: float
    tasks: int

    def to_dict(self) -> dict[str, str | float | int]:
        """Return the row of the JSON."""
        return {
            "stage": self.stage,
            "core_hours": round(self.core_hours, 4),
            "memory_gib": round(self.memory_gib, 3),
            "storage_gib": round(self.storage_gib, 3),
            "tasks": self.tasks,
        }


_MEASURED = Rates()


def plan_curation(
    settings: ImageConfig,
    *,
    num_pairs: int,
    num_pictures: int,
    width: int,
    rates: Rates = _MEASURED,
) -> list[Cost]:
    """Return the cost of every stage.

    Args:
        settings: The levels and their resamplings.
        num_pairs: Captions of the pool.
        num_pictures: Pictures of the pool.
        width: Of a picture's vector.
        rates: What a core does.
    """
    tables = -(-num_pictures // table_records(num_pictures))
    vectors = 2 * width * num_pictures / _GIB
    costs = [
        _text_cost("pairs", num_pairs / rates.read, 0.5, _CAPTION_BYTES, num_pairs, tables),
        _text_cost("match", num_pairs / rates.match, _MATCHER_GIB, _MATCH_BYTES, num_pairs, tables),
        _text_cost("balance", num_pairs / rates.balance, 0.3, 4, num_pairs, tables),
        Cost(
            stage="embed",
            core_hours=num_pictures / rates.embed / _HOUR,
            memory_gib=2.0,
            storage_gib=vectors + (8 * num_pairs + 4 * num_pictures) / _GIB,
            tasks=tables,
        ),
        *_level_costs(settings, num_pictures, width, rates),
        _text_cost("draw", num_pairs / rates.draw, 0.2, 16 + 8, num_pairs, tables),
    ]
    total = Cost(
        stage="total",
        core_hours=sum(cost.core_hours for cost in costs),
        memory_gib=max(cost.memory_gib for cost in costs),
        storage_gib=sum(cost.storage_gib for cost in costs),
        tasks=max(cost.tasks for cost in costs),
    )
    return [*costs, total]


def kmeans_flops(settings: ImageConfig, num_points: int, k: int, width: int) -> float:
    """Return the floating point operations of one level, seeding left out.

    A split costs its cells and the clusters in them; a level that is not split is run once on all
    points and then on a sample for each resampling.
    """
    one_pass = 2.0 * num_points * width
    passes = settings.iterations + 1
    if needs_split(k, width):
        cells = num_cells(k, width)
        return float(one_pass * passes * (cells + k / cells))
    points = settings.points or sample_points(num_points, k)
    again = settings.resamplings if points > 1 else 0
    sampled = min(points * k / num_points, 1.0)
    return one_pass * k * (passes + again * (settings.iterations * sampled + 1))


def pool_size(config: CurationConfig) -> tuple[int, int, int]:
    """Return (pairs, pictures, width) of a curation that has begun.

    Raises:
        ConfigError: If the pool was not read yet.
    """
    if not (Path(config.output) / "pairs" / "stage.json").exists():
        raise ConfigError(
            f"{config.output} holds no pool yet: give its size with --pairs, or run "
            "`dinotxt curate metadata` or `match` first."
        )
    pairs = read_report(config.output, "pairs")
    embedded = Path(config.output) / "embed" / "stage.json"
    width = read_report(config.output, "embed").details["width"] if embedded.exists() else 1024
    return pairs.n_out, int(pairs.details["num_pictures"]), int(width)


def _level_costs(
    settings: ImageConfig, num_pictures: int, width: int, rates: Rates
) -> Sequence[Cost]:
    costs, points = [], num_pictures
    for number, k in enumerate(settings.levels, 1):
        held = num_cells(k, width) if needs_split(k, width) else k
        block = block_rows(points)
        flops = kmeans_flops(settings, points, k, width)
        costs.append(
            Cost(
                stage=f"cluster level {number}",
                core_hours=flops / (rates.gflops * 1e9) / _HOUR,
                memory_gib=0.3 + (12 * held * width + 8 * block) / _GIB + 0.5,
                storage_gib=(4 * width * k + 8 * points) / _GIB,
                tasks=-(-points // block),
            )
        )
        points = k
    return costs


def _text_cost(
    stage: str, seconds: float, memory: float, row_bytes: int, rows: int, tasks: int
) -> Cost:
    return Cost(
        stage=stage,
        core_hours=seconds / _HOUR,
        memory_gib=memory,
        storage_gib=row_bytes * rows / _GIB,
        tasks=tasks,
    )
