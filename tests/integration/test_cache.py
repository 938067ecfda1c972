"""The verb cache on a tiny random backbone and generated pictures."""

from pathlib import Path

import pytest
from tests.integration.verbs import answer, call

from dinotxt.data.features.store import FeatureStore


@pytest.fixture
def table(pictures: dict[str, Path], tmp_path: Path) -> Path:
    rows = ["path,caption", *(f"{path},a {name} wall" for name, path in pictures.items())]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "pairs.csv"


@pytest.fixture
def recipe(table: Path, tmp_path: Path) -> Path:
    text = f"""
output: {tmp_path / "run"}
steps: 2
batch_size: 2
model:
  backbone:
    name: vit_tiny_patch16_224
    weights: random
    options: {{embed_dim: 32, depth: 1, num_heads: 2, patch_size: 8, img_size: 32}}
  vision_head: {{num_blocks: 1, num_heads: 2}}
  text_encoder: {{kind: transformer, width: 32, layers: 1, heads: 2}}
data: {{train: {table}, size: 32, views: {{scale: [0.5, 1.0]}}}}
optim: {{warmup_steps: 1}}
"""
    (tmp_path / "tiny.yaml").write_text(text)
    return tmp_path / "tiny.yaml"


def test_cache_announces_its_size_and_keeps_what_the_recipe_needs(
    recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    result = call("cache", "--config", recipe, "--out", out, "--views", "2", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "4 pictures x 2 views x 17 tokens x 32 in fp16: 8.5 KiB" in result.stdout
    store = FeatureStore.open(out)
    assert store.spec.tokens == "all"
    assert store.tokens([0, 1], 1)["patches"].shape == (2, 16, 32)


def test_cache_writes_json_and_does_nothing_the_second_time(
    recipe: Path, tmp_path: Path, table: Path
) -> None:
    table.write_text(table.read_text() + f"{tmp_path / 'lost.png'},a lost picture\n")
    out = tmp_path / "cache"
    arguments = ["cache", "--config", recipe, "--out", out, "--tokens", "pooled", "--json", "-"]
    first, second = call(*arguments), call(*arguments)
    assert first.exit_code == second.exit_code == 3, first.output
    contents = [answer(first), answer(second)]
    for content in contents:
        assert content["cache"] == str(out)
        assert content["n"] == 4
        assert content["bytes"] > 4 * 3 * 32 * 2
        assert [Path(skip["path"]).name for skip in content["skipped"]] == ["lost.png"]
    assert contents[0]["bytes"] == contents[1]["bytes"]


def test_cache_of_another_size_is_refused(recipe: Path, tmp_path: Path) -> None:
    arguments = ["cache", "--config", recipe, "--out", tmp_path / "cache"]
    assert call(*arguments).exit_code == 0
    result = call(*arguments, "--size", "64")
    assert result.exit_code == 1
    assert "was made with transform" in result.output


def test_cache_needs_a_backbone_and_data_or_a_recipe(tmp_path: Path) -> None:
    assert call("cache", "--out", tmp_path, "--backbone", "resnet18").exit_code == 2
