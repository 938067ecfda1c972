"""The sizes of DINOv3's files, read off their shapes."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from dinotxt.checkpoints.meta import infer_backbone
from dinotxt.models.vision.backbone import Backbone

GATED = {"fc1_g": "w1", "fc1_x": "w2", "fc2": "w3"}


def metas_names(network: Any) -> dict[str, Tensor]:
    """Return the tensors of timm's network under the names of Meta's DINOv3."""
    state = dict(network.state_dict())
    meta = {"storage_tokens": state.pop("reg_token"), "rope_embed.periods": network.rope.periods}
    is_gated = any("fc1_g" in key for key in state)
    for key, value in state.items():
        name = key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        if is_gated:
            name = re.sub(r"mlp\.(\w+)\.", lambda match: f"mlp.{GATED[match[1]]}.", name)
        meta[name] = value
    return meta


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vit_small_patch16_dinov3", (384, 12, 6, 4)),
        ("vit_small_plus_patch16_dinov3", (384, 12, 6, 4)),
        ("vit_base_patch16_dinov3", (768, 12, 12, 4)),
        ("vit_large_patch16_dinov3", (1024, 24, 16, 4)),
        ("vit_huge_plus_patch16_dinov3", (1280, 32, 20, 4)),
        ("vit_7b_patch16_dinov3", (4096, 40, 32, 2)),
    ],
)
def test_every_published_transformer_is_known_by_its_shapes(
    name: str, sizes: tuple[int, int, int, float]
) -> None:
    """Sizes as Meta's DINOv3 repository lists them: 7B has heads of 128."""
    with torch.device("meta"):
        state = metas_names(timm.create_model(name, num_classes=0))
    config = infer_backbone(state, Path("x.pth"))
    assert config.name == name
    keys = ("embed_dim", "depth", "num_heads", "mlp_ratio")
    assert tuple(config.options[key] for key in keys) == sizes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_7b_patch16_dinov3", {"embed_dim": 64, "num_heads": 2, "mlp_ratio": 2}),
        ("vit_huge_plus_patch16_dinov3", {"embed_dim": 64, "num_heads": 4, "mlp_ratio": 4}),
        ("vit_large_patch16_dinov3", {"embed_dim": 64, "num_heads": 1}),
    ],
)
def test_a_file_of_any_size_gives_the_features_of_its_network(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    options = {**options, "depth": 2, "num_classes": 0, "dynamic_img_size": True}
    network = timm.create_model(name, **options).eval()
    path = tmp_path / "meta.pth"
    torch.save({key: value.detach() for key, value in metas_names(network).items()}, path)
    backbone = Backbone.from_config(infer_backbone(torch.load(path), path))
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        expected = network.forward_features(images)
    torch.testing.assert_close(backbone(images).patches, expected[:, 5:])
    assert "rope.periods" in backbone.module.state_dict()


@pytest.mark.parametrize("name", ["tiny", "small", "base", "large"])
def test_every_published_convnext_is_known_by_its_shapes(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(f"convnext_{name}", num_classes=0)
    meta = {}
    for key, value in network.state_dict().items():
        named = re.sub(r"^stem\.", "downsample_layers.0.", key)
        named = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", named)
        meta[named.replace(".blocks.", ".").replace("conv_dw", "dwconv")] = value
    config = infer_backbone(meta, Path("x.pth"))
    assert config.name == f"convnext_{name}"
    assert config.options["depths"] == [len(stage.blocks) for stage in network.stages]
