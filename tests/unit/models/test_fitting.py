import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dinotxt.errors import CheckpointError
from dinotxt.models.fitting import load_backbone_weights, rename_in_order
from dinotxt.models.weights import hash_tensors

TINY = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 70, "num_classes": 0}


def test_metas_register_model_loads_with_the_cls_position_folded_in(tmp_path: Path) -> None:
    vit = timm.create_model("vit_small_patch14_reg4_dinov2", **TINY)
    meta = dict(vit.state_dict())
    meta["register_tokens"] = meta.pop("reg_token")
    cls_position = torch.randn(1, 1, 32)
    meta["pos_embed"] = torch.cat([cls_position, meta["pos_embed"]], dim=1)
    meta["mask_token"] = torch.zeros(1, 32)
    save_file(meta, tmp_path / "meta.safetensors")
    loaded = timm.create_model("vit_small_patch14_reg4_dinov2", **TINY)
    load_backbone_weights(loaded, str(tmp_path / "meta.safetensors"))
    assert torch.equal(loaded.cls_token, vit.cls_token + cls_position)
    assert torch.equal(loaded.pos_embed, vit.pos_embed)
    assert torch.equal(loaded.reg_token, vit.reg_token)


def test_metas_giant_gated_layers_get_timms_names(tmp_path: Path) -> None:
    vit = timm.create_model("vit_giant_patch14_reg4_dinov2", **TINY)
    meta = dict(vit.state_dict())
    meta["register_tokens"] = meta.pop("reg_token")
    meta["pos_embed"] = torch.cat([torch.zeros(1, 1, 32), meta["pos_embed"]], dim=1)
    for part in ("weight", "bias"):
        meta[f"blocks.0.mlp.w12.{part}"] = meta.pop(f"blocks.0.mlp.fc1.{part}")
        meta[f"blocks.0.mlp.w3.{part}"] = meta.pop(f"blocks.0.mlp.fc2.{part}")
    torch.save(meta, tmp_path / "giant.pth")
    loaded = timm.create_model("vit_giant_patch14_reg4_dinov2", **TINY)
    load_backbone_weights(loaded, str(tmp_path / "giant.pth"))
    assert hash_tensors(loaded.state_dict()) == hash_tensors(vit.state_dict())


@pytest.mark.parametrize("bias", [False, True])
def test_metas_dinov3_names_load(tmp_path: Path, bias: bool) -> None:
    name = "vit_large_patch16_dinov3" + "_qkvb" * bias
    options = {key: value for key, value in TINY.items() if key != "img_size"}
    vit = timm.create_model(name, **options)
    meta = {"storage_tokens": vit.reg_token, "rope_embed.periods": torch.ones(4)}
    for key, value in vit.state_dict().items():
        if key.endswith(("q_bias", "v_bias", "reg_token")):
            continue
        meta[key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    query, values = torch.randn(32) * bias, torch.randn(32) * bias
    meta["blocks.0.attn.qkv.bias"] = torch.cat([query, torch.zeros(32), values])
    meta["blocks.0.attn.qkv.bias_mask"] = torch.ones(96)
    meta["mask_token"] = torch.zeros(1, 32)
    torch.save({key: value.detach() for key, value in meta.items()}, tmp_path / "v3.pth")
    loaded = timm.create_model(name, **options)
    load_backbone_weights(loaded, str(tmp_path / "v3.pth"))
    assert torch.equal(loaded.reg_token, vit.reg_token)
    assert torch.equal(loaded.blocks[0].gamma_2, vit.blocks[0].gamma_2)
    if bias:
        assert torch.equal(loaded.blocks[0].attn.v_bias, values)


def test_a_classifier_and_a_data_parallel_prefix_are_left_out(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", num_classes=3).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "r.pth")
    loaded = timm.create_model("resnet18", num_classes=0)
    load_backbone_weights(loaded, str(tmp_path / "r.pth"))
    assert torch.equal(loaded.conv1.weight, state["conv1.weight"])


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    vit = timm.create_model("vit_small_patch14_dinov2", **TINY)
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match="missing layer1"):
        load_backbone_weights(timm.create_model("resnet18"), str(tmp_path / "vit.pth"))


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def foreign_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"_x{number}": value for number, value in enumerate(state.values())}


def test_tensors_in_the_same_order_load_under_other_names(tmp_path: Path) -> None:
    source, target = network(), network()
    state = foreign_names({k: v for k, v in source.state_dict().items() if "num_" not in k})
    state |= {"_fc.weight": torch.ones(5, 2), "_fc.bias": torch.ones(5)}
    torch.save(state, tmp_path / "a.pth")
    load_backbone_weights(target, f"ordered:{tmp_path / 'a.pth'}")
    assert hash_tensors(target.state_dict()) == hash_tensors(source.state_dict())


def test_tensors_in_another_order_are_refused() -> None:
    state = foreign_names(dict(reversed(network().state_dict().items())))
    with pytest.raises(CheckpointError, match="not in the same order"):
        rename_in_order(state, network().state_dict(), "x")
    with pytest.raises(CheckpointError, match="1 tensors for 6"):
        rename_in_order({"a": torch.ones(2, 1, 1, 1)}, network().state_dict(), "x")


@pytest.mark.filterwarnings("ignore:.*the teacher is taken")
@pytest.mark.parametrize(
    "wrapper",
    ["backbone.", "module.backbone.", "_orig_mod.", "model.", "teacher.backbone.", "model.net."],
)
def test_wrappers_of_names_chunks_and_heads_of_training_fall_away(
    tmp_path: Path, wrapper: str
) -> None:
    """DINOv2 trains blocks in chunks, ``blocks.CHUNK.NUMBER.``, beside heads of its own."""
    options = {**TINY, "depth": 4}
    vit = timm.create_model("vit_small_patch14_dinov2", **options)
    state = {
        wrapper + re.sub(r"^blocks\.(\d+)\.", _chunked, key): value
        for key, value in vit.state_dict().items()
    }
    outer = wrapper.removesuffix("backbone.")
    state |= {f"{outer}dino_head.last_layer.weight": torch.ones(2)}
    if wrapper.startswith("teacher."):
        state |= {
            f"student.{key.removeprefix('teacher.')}": value * 0 for key, value in state.items()
        }
    torch.save(state, tmp_path / "own.pth")
    loaded = timm.create_model("vit_small_patch14_dinov2", **options)
    load_backbone_weights(loaded, str(tmp_path / "own.pth"))
    assert hash_tensors(loaded.state_dict()) == hash_tensors(vit.state_dict())


def _chunked(match: re.Match[str]) -> str:
    return f"blocks.{int(match[1]) // 2}.{match[1]}."


def test_an_error_says_what_a_file_is_and_what_would_fit(tmp_path: Path) -> None:
    vit = timm.create_model("vit_small_patch14_dinov2", **TINY)
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    for options, words in [
        ({"img_size": 28}, r"`backbone\.options\.img_size: 70`"),
        ({"depth": 2}, "1 blocks of 32 and patches of 14"),
        ({"embed_dim": 64}, "1 blocks of 32 and patches of 14"),
    ]:
        other = timm.create_model("vit_small_patch14_dinov2", **TINY | options)
        with pytest.raises(CheckpointError, match=words) as caught:
            load_backbone_weights(other, str(tmp_path / "vit.pth"))
        assert "by timm's or Meta's names" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 10
    torch.save({"vision_model.encoder.layers.0.x": torch.ones(1)}, tmp_path / "clip.pth")
    with pytest.raises(CheckpointError, match="hf:FOLDER"):
        load_backbone_weights(vit, str(tmp_path / "clip.pth"))


def test_dinov3_with_biases_asks_for_the_name_that_has_them(tmp_path: Path) -> None:
    options = {key: value for key, value in TINY.items() if key != "img_size"}
    vit = timm.create_model("vit_large_patch16_dinov3", **options)
    meta = {key: value for key, value in vit.state_dict().items() if key != "reg_token"}
    meta |= {"storage_tokens": vit.reg_token.detach(), "blocks.0.attn.qkv.bias": torch.ones(96)}
    torch.save(meta, tmp_path / "v3.pth")
    with pytest.raises(CheckpointError, match="`_qkvb`"):
        load_backbone_weights(vit, str(tmp_path / "v3.pth"))


PLAIN = {key: value for key, value in TINY.items() if key != "img_size"}


def test_dinov3s_rotary_periods_are_the_files_and_part_of_the_hash(tmp_path: Path) -> None:
    """Meta's files hold them rounded to bfloat16; timm 1.0.31 computes its own in float32.

    The expected table is DINOv3's formula: centres of patches in [-1, 1], times 2 pi, over periods.
    """
    vit = timm.create_model("vit_large_patch16_dinov3", dynamic_img_size=True, **PLAIN)
    own = hash_tensors(vit.state_dict())
    periods = vit.rope.periods.bfloat16().float() * 1.01
    meta = {key: value.detach() for key, value in vit.state_dict().items() if key != "reg_token"}
    meta |= {"storage_tokens": vit.reg_token.detach(), "rope_embed.periods": periods}
    torch.save(meta, tmp_path / "v3.pth")
    load_backbone_weights(vit, str(tmp_path / "v3.pth"))
    assert torch.equal(vit.rope.periods, periods)
    assert hash_tensors(vit.state_dict()) != own
    rows, columns = (2 * (torch.arange(n) + 0.5) / n - 1 for n in (2, 3))
    places = torch.cartesian_prod(rows, columns)
    angles = (2 * torch.pi * places[:, :, None] / periods).flatten(1).tile(2)
    expected = torch.cat([angles.sin(), angles.cos()], dim=-1)
    torch.testing.assert_close(vit.rope.get_embed((2, 3)), expected)
    vit.to(torch.float32)
    assert torch.equal(vit.rope.periods, periods)


def test_dinov3s_gated_layers_get_timms_names(tmp_path: Path) -> None:
    """DINOv3's S+, L+, H+ and 7B: ``w3(silu(w1 x) * (w2 x))``."""
    vit = timm.create_model("vit_small_plus_patch16_dinov3", **PLAIN)
    names = {"fc1_g": "w1", "fc1_x": "w2", "fc2": "w3"}
    meta = {"storage_tokens": vit.reg_token.detach()}
    for key, value in vit.state_dict().items():
        if key != "reg_token":
            name = re.sub(r"mlp\.(\w+)\.", lambda match: f"mlp.{names[match[1]]}.", key)
            meta[name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    torch.save(meta, tmp_path / "plus.pth")
    loaded = timm.create_model("vit_small_plus_patch16_dinov3", **PLAIN)
    load_backbone_weights(loaded, str(tmp_path / "plus.pth"))
    assert hash_tensors(loaded.state_dict()) == hash_tensors(vit.state_dict())
    mlp, x = loaded.blocks[0].mlp, torch.randn(2, 3, 32)
    linear = nn.functional.linear
    parts = [meta[f"blocks.0.mlp.w{n}.{kind}"] for n in "123" for kind in ("weight", "bias")]
    gate, value = linear(x, parts[0], parts[1]), linear(x, parts[2], parts[3])
    expected = linear(nn.functional.silu(gate) * value, parts[4], parts[5])
    torch.testing.assert_close(mlp(x), expected)


def test_dinov3s_convnext_gets_timms_names(tmp_path: Path) -> None:
    options = {"dims": (8, 16, 16, 32), "depths": (1, 1, 2, 1), "num_classes": 0}
    network = timm.create_model("convnext_tiny", **options)
    meta = {f"norms.{n}.weight": torch.ones(1) for n in range(4)}
    for key, value in network.state_dict().items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", key)
        name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = (
            name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        )
        meta[name.replace("head.norm", "norm")] = value
    torch.save(meta, tmp_path / "convnext.pth")
    loaded = timm.create_model("convnext_tiny", **options)
    load_backbone_weights(loaded, str(tmp_path / "convnext.pth"))
    assert hash_tensors(loaded.state_dict()) == hash_tensors(network.state_dict())
