"""The plan: linear in the pool, and close to what a run counts."""

import json
from pathlib import Path

import pytest

from dinotxt.curation.config import ImageConfig
from dinotxt.curation.plan import Rates, kmeans_flops, plan_curation
from dinotxt.errors import ConfigError

PAPER = ImageConfig(levels=(20_000_000, 800_000, 80_000))


def _row(rows: list[dict[str, str | float | int]], stage: str) -> dict[str, str | float | int]:
    return next(row for row in rows if row["stage"] == stage)


def test_text_stages_cost_what_their_rates_say() -> None:
    rates = Rates(match=100_000)
    costs = plan_curation(
        PAPER, num_pairs=2_300_000_000, num_pictures=2_300_000_000, width=1024, rates=rates
    )
    rows = [cost.to_dict() for cost in costs]
    assert _row(rows, "match")["core_hours"] == pytest.approx(6.3889, abs=1e-3)
    assert _row(rows, "match")["tasks"] == 230_000
    assert _row(rows, "embed")["storage_gib"] == pytest.approx(4395, rel=0.01)
    assert [row["stage"] for row in rows][-1] == "total"


def test_a_small_pool_has_as_many_tasks_as_its_tables_and_blocks() -> None:
    settings = ImageConfig(levels=(200, 40))
    costs = plan_curation(settings, num_pairs=30_000, num_pictures=6_000, width=16)
    rows = [cost.to_dict() for cost in costs]
    assert _row(rows, "embed")["tasks"] == 6
    assert _row(rows, "cluster level 1")["tasks"] == 2
    assert _row(rows, "cluster level 2")["tasks"] == 1


def test_cost_is_linear_in_the_pool() -> None:
    small, large = (
        plan_curation(PAPER, num_pairs=n, num_pictures=n, width=1024)
        for n in (30_000_000, 300_000_000)
    )
    for one, ten in zip(small, large, strict=True):
        if one.stage not in {"cluster level 2", "cluster level 3", "total"}:
            assert ten.core_hours == pytest.approx(10 * one.core_hours, rel=1e-6)


def test_a_split_costs_the_root_of_a_flat_level() -> None:
    flat = 2.0 * 2_300_000_000 * 20_000_000 * 1024 * (PAPER.iterations + 1)
    assert kmeans_flops(PAPER, 2_300_000_000, 20_000_000, 1024) < flat / 2000


def test_resampling_costs_what_its_sample_has() -> None:
    again = ImageConfig(levels=(1000,), resamplings=10, iterations=20)
    once = ImageConfig(levels=(1000,), resamplings=0, iterations=20)
    small, large = 10_000, 100_000_000  # mean sizes of 10 and 100,000; samples of 5 and 256
    assert kmeans_flops(again, small, 1000, 8) == pytest.approx(2 * small * 8000 * (21 + 10 * 11))
    assert kmeans_flops(once, small, 1000, 8) == pytest.approx(2 * small * 8000 * 21)
    sampled = 256_000 / large
    assert kmeans_flops(again, large, 1000, 8) == pytest.approx(
        2 * large * 8000 * (21 + 10 * (1 + 20 * sampled))
    )


def test_no_worker_needs_more_than_the_centroids_of_one_task() -> None:
    costs = plan_curation(PAPER, num_pairs=2_300_000_000, num_pictures=2_300_000_000, width=1024)
    assert max(cost.memory_gib for cost in costs) <= 2.0


def test_rates_come_from_a_report_of_the_benchmark(tmp_path: Path) -> None:
    keys = ("read_rate", "match_rate", "balance_rate", "kmeans_gflops", "draw_rate")
    figures = {key: {"value": 100.0 + number} for number, key in enumerate(keys)}
    path = tmp_path / "scaling.json"
    path.write_text(json.dumps({"name": "curation_scaling", "figures": figures}))
    rates = Rates(embed=7).measured(path)
    assert rates == Rates(read=100, match=101, balance=102, gflops=103, draw=104, embed=7)


def test_a_report_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "draw.json"
    path.write_text(json.dumps({"name": "draw", "figures": {"rate": {"value": 1.0}}}))
    with pytest.raises(ConfigError, match=r"has no balance_rate, .*curation_scaling"):
        Rates().measured(path)
