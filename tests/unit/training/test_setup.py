import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dinotxt.checkpoints.sources import build_model, build_tokenizer
from dinotxt.data.pictures.transform import Transform
from dinotxt.errors import DataError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.backbone import Backbone
from dinotxt.results.skip import Skip
from dinotxt.training.config import DataConfig, TrainConfig
from dinotxt.training.distributed.world import World
from dinotxt.training.setup import RunBuilder, RunData, transform_config

TINY = {"embed_dim": 16, "depth": 1, "num_heads": 1, "img_size": 32}


def build(config: TrainConfig, heard: list[Skip]) -> RunData:
    model = build_model(config.model)
    transform = Transform(transform_config(config.data, model.backbone))
    world = World(torch.device("cpu"))
    builder = RunBuilder(
        config, model, build_tokenizer(config.model), transform, world=world, on_skip=heard.append
    )
    return builder.build()


def keys(data: RunData) -> set[str]:
    """The keys of the pairs of two epochs of four batches."""
    return {name for step in range(8) for name in data.batches.names(step)}


def backbone(**settings: object) -> Backbone:
    config = {"name": "vit_tiny_patch16_224", "weights": "random", "options": TINY} | settings
    return Backbone.from_config(BackboneConfig(**config))  # type: ignore[arg-type]


def test_a_share_sets_the_same_pairs_apart_whatever_their_order(
    config: Callable[..., TrainConfig],
) -> None:
    settings = config("data.val=0.25", "batch_size=2")
    first = build(settings, [])
    assert first.validation is not None
    assert (first.batches.num_items, first.validation.num_pairs) == (9, 3)
    table = Path(settings.data.sources[0].path)
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]))
    second = build(settings, [])
    assert keys(second) == keys(first)
    assert second.fingerprint != first.fingerprint


def test_rows_without_a_caption_are_reported(config: Callable[..., TrainConfig]) -> None:
    settings = config("data.val=null")
    with Path(settings.data.sources[0].path).open("a") as stream:
        stream.write("zz.png,\n")
    heard: list[Skip] = []
    assert build(settings, heard).batches.num_items == 12
    assert len(heard) == 1


def test_no_pair_at_all_is_an_error(config: Callable[..., TrainConfig]) -> None:
    settings = config()
    Path(settings.data.sources[0].path).write_text("path,caption\n")
    with pytest.raises(DataError, match="no usable pairs"):
        build(settings, [])


def test_the_mean_and_deviation_are_the_backbone_s_own_unless_stated(tmp_path: Path) -> None:
    data = DataConfig(train="x")
    assert transform_config(data, backbone()).mean == (0.5, 0.5, 0.5)  # timm's for this ViT
    five = backbone(in_channels=5)
    assert transform_config(replace(data, channels=(0, 1, 2, 3, 4)), five).std == (0.25,) * 5
    stated = replace(data, mean=(0.1, 0.2, 0.3))
    assert transform_config(stated, backbone()).mean == (0.1, 0.2, 0.3)
    folder = backbone()
    folder.module.pretrained_cfg = {}
    assert transform_config(data, folder).mean == (0.485, 0.456, 0.406)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4] * 3, "image_std": [0.3] * 3})
    )
    folder.config = BackboneConfig(name=f"hf:{tmp_path}")
    assert transform_config(data, folder).mean == (0.4, 0.4, 0.4)
