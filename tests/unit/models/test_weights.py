import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dinotxt.errors import CheckpointError
from dinotxt.models.weights import (
    hash_tensors,
    load_backbone_weights,
    load_strictly,
    read_state_dict,
    rename_in_order,
    write_pickle,
)

TINY = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 70, "num_classes": 0}


class Dangerous:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_every_kind_of_file_gives_its_tensors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = {"a": torch.randn(3), "b": torch.arange(2)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    read = read_state_dict(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_a_wrapped_state_dict_is_unwrapped(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": {"a": torch.ones(1)}}, "epoch": 3}, tmp_path / "a.pth")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "b.pth")
    assert list(read_state_dict(tmp_path / "b.pth")) == ["a"]


def test_a_pickle_with_code_is_refused_and_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1), "b": Dangerous()}, "bad.pth")
    Path("raw.pth").write_bytes(pickle.dumps(Dangerous()))
    for name in ("bad.pth", "raw.pth"):
        with pytest.raises(CheckpointError, match=r"refused.*(GLOBAL|operand)") as caught:
            read_state_dict(name)
        assert "likely succeed" not in str(caught.value)  # torch's advice to run the code
    assert not Path("touched").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"not weights at all", b"PK\x03\x04 torn"])
def test_a_damaged_file_is_an_error_that_names_it(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"torn{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="torn"):
        read_state_dict(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.pth", "a.safetensors"):
        path = tmp_path / name
        state = {"a": torch.randn(1000)}
        save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(CheckpointError, match=name):
            read_state_dict(path)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_state_dict("nowhere.pth")


def test_a_file_with_other_things_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="epoch"):
        read_state_dict(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_state_dict(tmp_path / "b.pth")


def test_every_key_that_does_not_fit_is_listed() -> None:
    state = {"weight": torch.ones(3, 2), "extra": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        load_strictly(nn.Linear(2, 2), state, "x.pth")
    message = str(caught.value)
    assert "missing bias" in message
    assert "unexpected extra" in message
    assert "weight is (3, 2), must be (2, 2)" in message


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


def test_the_hash_depends_on_names_types_shapes_and_values() -> None:
    base = {"a": torch.zeros(2, 3)}
    others = [
        {"b": base["a"]},
        {"a": base["a"].half()},
        {"a": torch.zeros(3, 2)},
        {"a": torch.ones(2, 3)},
    ]
    hashes = {hash_tensors(state) for state in [base, *others]}
    assert len(hashes) == 5
    assert hash_tensors({"x": torch.ones(1), "a": base["a"]}) == hash_tensors(
        {"a": base["a"].clone(), "x": torch.ones(1)}
    )


def test_a_disk_that_takes_no_pickle_is_told_in_its_own_words() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_pickle({"weight": torch.ones(100_000)}, Path("/dev/full"))
