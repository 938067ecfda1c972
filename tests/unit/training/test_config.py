import dataclasses
from pathlib import Path

import pytest

from dinotxt.data.pictures.channels import ChannelMapping
from dinotxt.errors import ConfigError
from dinotxt.recipes import recipe_names
from dinotxt.training.config import TrainConfig

MINIMAL = """
output: runs/mine
steps: 10
batch_size: 4
model: {backbone: {name: vit_tiny, weights: random}}
data: {train: pairs.csv}
optim: {warmup_steps: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name: str) -> None:
    config = TrainConfig.from_yaml(name)
    assert config.steps > config.optim.warmup_steps


def test_the_recipes_of_the_package_are_found() -> None:
    assert {"lite", "vitl14", "vits14"} <= set(recipe_names())


def test_the_paper_s_best_model_has_its_stated_values() -> None:
    config = TrainConfig.from_yaml("vitl14", "seed=3")
    text = config.model.text_encoder
    assert (config.steps, config.batch_size, config.seed) == (50_000, 65_536, 3)
    assert text.kind == "transformer"
    assert (text.width, text.layers, text.heads) == (1280, 24, 20)
    assert config.model.vision_head.num_blocks == 2


def test_a_misspelt_key_names_its_path_and_the_nearest_key(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"optim\.wieght_decay.*`weight_decay`"):
        TrainConfig.from_yaml(file, "optim.wieght_decay=0.2")
    with pytest.raises(ConfigError, match=r"model\.vision_head\.num_block: .*`num_blocks`"):
        TrainConfig.from_yaml(file, "model.vision_head.num_block=1")


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `vitl14`"):
        TrainConfig.from_yaml("vitl4")


def test_the_validation_is_a_share_or_a_path(file: Path) -> None:
    assert TrainConfig.from_yaml(file, "data.val=0.05").data.val == 0.05
    assert TrainConfig.from_yaml(file, "data.val=5e-2").data.val == 0.05
    assert TrainConfig.from_yaml(file, "data.val=val.tar").data.val == "val.tar"
    with pytest.raises(ConfigError, match=r"data\.val"):
        TrainConfig.from_yaml(file, "data.val=1.5")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.captions=all", "set data.captions to drawn"),
        ("start={kind: ridge}", "set it to null"),
    ],
)
def test_a_curation_is_refused_where_all_captions_are_read(
    file: Path, override: str, message: str
) -> None:
    assert TrainConfig.from_yaml(file, "data.curation=curated").data.curation == Path("curated")
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_yaml(file, "data.curation=curated", override)


def test_channels_and_range_become_the_mapping_of_the_transform(file: Path) -> None:
    config = TrainConfig.from_yaml(
        file, "data.channels=[0,0,0]", "data.value_range=[100,4000]", "data.mean=[0.1,0.2,0.3]"
    )
    transform = config.data.transform((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert transform.mapping == ChannelMapping(channels=(0, 0, 0), low=100, high=4000)
    assert transform.mean == (0.1, 0.2, 0.3)
    assert transform.std == (0.25, 0.25, 0.25)


def test_a_configuration_cannot_be_changed(file: Path) -> None:
    config = TrainConfig.from_yaml(file)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 5  # type: ignore[misc]
