"""``dinotxt plan`` on training recipes: parts, Table 7 beside ours, storage."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dinotxt.cli.main import app


def plan(*arguments: object) -> dict[str, Any]:
    command = ["plan", *map(str, arguments), "--json", "-"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    content: dict[str, Any] = json.loads(result.stdout)
    return content


@pytest.fixture(scope="module")
def best() -> dict[str, Any]:
    """The plan of the paper's best recipe on 128 GPUs."""
    return plan("table3-curation", "--gpus", 128)


def test_the_rows_of_table_7_stand_beside_our_formula(best: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in best["rows"]}
    assert [row["gpu_hours_paper"] for row in best["rows"][:8]] == [
        73728,
        50800,
        92160,
        None,
        22000,
        8000,
        2432,
        4096,
    ]
    assert rows["dino.txt"]["gpu_hours"] == pytest.approx(2432, rel=1e-3)  # what the share is from
    assert rows["dino.txt"]["hours"] == pytest.approx(19)
    assert rows["dino.txt @336"]["gpu_hours"] == pytest.approx(4096, rel=0.05)
    assert rows["CLIP"]["gflops_a_sample"] > rows["dino.txt"]["gflops_a_sample"]
    assert rows["DINOv2 ViT-g pretraining"]["gpu_hours"] is None
    assert rows["DINOv2 ViT-g pretraining"]["megawatt_hours"] == pytest.approx(9.68)
    assert 0.3 < best["utilisation"] < 0.7


def test_float32_costs_what_a_gpu_without_tf32_takes() -> None:
    half, full = (
        plan("table3-curation", f"compute.precision={name}", "--gpu", "h100")["rows"][8]
        for name in ("bfloat16", "float32")
    )
    assert full["gpu_hours"] == pytest.approx(half["gpu_hours"] * 989 / 67, rel=1e-3)
    assert plan("table3-curation", "--gpu", "h100")["rows"][8] == half


def test_the_recipe_itself_comes_last_in_each_way_to_run_it(best: dict[str, Any]) -> None:
    names = [row["method"] for row in best["rows"][8:]]
    assert names[0] == "table3-curation: 77 tokens"
    assert [name.partition(": ")[2] for name in names] == [row["variant"] for row in best["parts"]]
    full, packed, cached, twice = best["parts"]
    assert full["frozen"] == packed["frozen"] > 0
    assert packed["text"] < full["text"] / 4
    assert cached["frozen"] == 0
    assert (cached["vision"], cached["text"]) == (packed["vision"], packed["text"])
    assert twice["vision"] > packed["vision"]
    assert full["total"] == pytest.approx(
        sum(full[key] for key in ("frozen", "vision", "text", "loss")), rel=1e-3
    )
    ours = best["rows"][8]
    assert ours["samples"] == 50_000 * 65_536
    assert ours["hours"] == pytest.approx(ours["gpu_hours"] / 128, rel=1e-3)


def test_storage_counts_caches_and_checkpoints(best: dict[str, Any]) -> None:
    sizes = {row["what"]: row["gib"] for row in best["storage"]}
    assert sizes["cache of 1,000,000 pictures, all tokens"] == pytest.approx(
        522 * 1e6 / 2**20, rel=1e-3
    )
    assert sizes["cache of 1,000,000 pictures, pooled"] == pytest.approx(4 * 1e6 / 2**20, rel=1e-3)
    trained = 25_326_336 + 538_131_200  # the released head and text encoder
    assert sizes["model"] == pytest.approx(4 * trained / 2**30, rel=1e-3)


def test_an_own_configuration_and_its_tables_are_shown(tiny_run: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(tiny_run), "--gpu", "h100"])
    assert result.exit_code == 0
    for text in ("GFLOPs of a pair", "Table 7", "Storage", "MetaCLIP", "77 tokens"):
        assert text in result.stdout
    pooled = plan(tiny_run, "model.vision_head.num_blocks=0", "model.vision_head.dim=64")
    assert pooled["parts"][2]["variant"] == "packed, pooled cached"


def test_an_unknown_gpu_or_recipe_is_named(tiny_run: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(tiny_run), "--gpu", "tpu"])
    assert result.exit_code == 1
    assert "v100" in result.stderr
    result = CliRunner().invoke(app, ["plan", "table3-curatoin"])
    assert result.exit_code == 1
    assert "did you mean `table3-curation`" in result.stderr
