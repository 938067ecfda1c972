import math
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.unit.checkpoints.conftest import WIDTH, MetaFiles, Site
from torch import Tensor

from dinotxt.checkpoints import meta
from dinotxt.checkpoints.format import load_model, save_model
from dinotxt.checkpoints.layouts import to_dinov3
from dinotxt.checkpoints.meta import from_meta, to_meta
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import ModelConfig, VisionHeadConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.weights import read_state_dict
from dinotxt.text.tokenizer import Tokenizer


def load(files: MetaFiles, **changes: Any) -> DinoTxt:
    arguments = {
        "backbone": files.backbone,
        "vision_head": files.vision_head,
        "text_encoder": files.text_encoder,
        **changes,
    }
    return meta.load(**arguments)


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_dinov2s_files_give_the_same_model(model: DinoTxt, meta_files: MetaFiles) -> None:
    loaded = load(meta_files)
    images = torch.randn(2, 3, 28, 42)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_image(images), model.encode_image(images))
    state = loaded.trainable_state_dict()
    for name, value in meta_files.state.items():
        assert name == "logit_scale" or torch.equal(state[name], value)
    assert not loaded.training


def test_an_absent_logit_scale_is_a_hundred_with_a_warning(meta_files: MetaFiles) -> None:
    with pytest.warns(UserWarning, match="no logit_scale: 100 is used"):
        loaded = load(meta_files)
    assert loaded.logit_scale.exp().item() == pytest.approx(100)


def write_dinov3(meta_files: MetaFiles, path: Path, *, shape: tuple[int, ...] = ()) -> Path:
    state = to_dinov3(meta_files.state | {"logit_scale": torch.full(shape, math.log(50))})
    state["visual_model.backbone.cls_token"] = torch.zeros(1, 1, WIDTH)
    torch.save(state, path)
    return path


@pytest.mark.parametrize("shape", [(), (1,)])
def test_dinov3s_single_file_gives_the_same_model(
    model: DinoTxt, meta_files: MetaFiles, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = write_dinov3(meta_files, tmp_path / "both.pth", shape=shape)
    loaded = meta.load(backbone=meta_files.backbone, vision_head_and_text_encoder=path)
    ids, lengths = torch.tensor([[1, 5, 7]]), torch.tensor([3])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.encode_text(ids, lengths), model.encode_text(ids, lengths)
        )
    assert loaded.logit_scale.exp().item() == pytest.approx(50)
    assert loaded.logit_scale.shape == ()


def test_the_hex_digits_in_dinov3s_file_name_are_checked(
    meta_files: MetaFiles, tmp_path: Path
) -> None:
    name = "dinov3_vitl16_dinotxt_vision_head_and_text_encoder-a442d8f5.pth"
    path = write_dinov3(meta_files, tmp_path / name)
    with pytest.raises(CheckpointError, match="a442d8f5 is expected"):
        meta.load(backbone=meta_files.backbone, vision_head_and_text_encoder=path)


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_files_come_from_urls_too(meta_files: MetaFiles, site: Site) -> None:
    site.files["/head.pth"] = meta_files.vision_head.read_bytes()
    loaded = load(meta_files, vision_head=f"{site.url}/head.pth")
    assert site.requests == ["/head.pth"]
    assert loaded.embed_dim == 2 * WIDTH


def test_sizes_are_inferred_and_heads_can_be_given(meta_files: MetaFiles) -> None:
    weights = meta.read(
        backbone=meta_files.backbone,
        vision_head=meta_files.vision_head,
        text_encoder=meta_files.text_encoder,
        vision_num_heads=2,
        text_num_heads=4,
    )
    config = weights.config
    assert config.vision_head.num_blocks == 2
    assert (config.vision_head.num_heads, config.vision_head.dim) == (2, None)
    text = config.text_encoder
    assert (text.width, text.layers, text.heads) == (WIDTH, 2, 4)  # type: ignore[union-attr]
    assert text.context_length == 77
    assert config.backbone.options["depth"] == 1
    assert config.backbone.options["img_size"] == 56
    assert not weights.has_logit_scale


def test_metas_dinov3_backbone_is_inferred() -> None:
    state = {
        "storage_tokens": torch.zeros(1, 4, 1024),
        "patch_embed.proj.weight": torch.zeros(1024, 3, 16, 16),
        "blocks.23.attn.qkv.bias": torch.zeros(3072),
    }
    config = meta.infer_backbone(state, Path("v3.pth"))
    assert config.name == "vit_large_patch16_dinov3"
    assert config.options == {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    state["blocks.23.attn.qkv.bias"] += 1
    assert meta.infer_backbone(state, Path("v3.pth")).name == "vit_large_patch16_dinov3_qkvb"


def test_metas_giant_backbone_is_inferred() -> None:
    state = {
        "pos_embed": torch.zeros(1, 1370, 1536),
        "register_tokens": torch.zeros(1, 4, 1536),
        "patch_embed.proj.weight": torch.zeros(1536, 3, 14, 14),
        "blocks.39.mlp.w12.weight": torch.zeros(1),
    }
    config = meta.infer_backbone(state, Path("g.pth"))
    assert config.name == "vit_giant_patch14_reg4_dinov2"
    assert config.options["num_heads"] == 24
    assert "mlp_ratio" not in config.options


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_every_missing_unexpected_and_misshaped_key_is_listed(meta_files: MetaFiles) -> None:
    head = torch.load(meta_files.vision_head, weights_only=True)
    del head["block_list.1.norm1.bias"]
    head["block_list.0.attn.proj.weight"] = torch.zeros(3, 3)
    head["stranger"] = torch.zeros(1)
    torch.save(head, meta_files.vision_head)
    with pytest.raises(CheckpointError) as caught:
        load(meta_files)
    message = str(caught.value)
    assert "missing block_list.1.norm1.bias" in message
    assert "unexpected stranger" in message
    assert "block_list.0.attn.proj.weight is (3, 3), must be (64, 64)" in message
    assert f"{meta_files.vision_head} and {meta_files.text_encoder} does not fit" in message


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_any_key_may_be_missing_and_is_named_as_the_file_names_it(meta_files: MetaFiles) -> None:
    for file in (meta_files.vision_head, meta_files.text_encoder):
        whole = torch.load(file, weights_only=True)
        for key in whole:
            torch.save({name: value for name, value in whole.items() if name != key}, file)
            with pytest.raises(CheckpointError, match=f"missing {re.escape(key)}$"):
                load(meta_files)
        torch.save(whole, file)


def test_dinov3s_keys_are_listed_as_the_file_names_them(
    meta_files: MetaFiles, tmp_path: Path
) -> None:
    path = write_dinov3(meta_files, tmp_path / "both.pth")
    state = torch.load(path, weights_only=True)
    del state["text_model.head.linear_projection.weight"], state["visual_model.head.ln_final.bias"]
    torch.save(state | {"stranger": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError) as caught:
        meta.load(backbone=meta_files.backbone, vision_head_and_text_encoder=path)
    assert "missing text_model.head.linear_projection.weight" in str(caught.value)
    assert "missing visual_model.head.ln_final.bias" in str(caught.value)
    assert "unexpected stranger" in str(caught.value)


def test_files_that_were_swapped_are_an_error_that_names_the_keys(
    meta_files: MetaFiles,
) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected backbone\.positional_embedding"):
        load(meta_files, vision_head=meta_files.text_encoder)
    with pytest.raises(CheckpointError, match=r"lacks patch_embed"):
        load(meta_files, backbone=meta_files.text_encoder)


def test_a_pickle_with_code_is_refused(meta_files: MetaFiles) -> None:
    meta_files.vision_head.write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match="refused"):
        load(meta_files)


def test_half_a_pair_of_files_is_refused(meta_files: MetaFiles) -> None:
    with pytest.raises(ConfigError, match="vision_head and text_encoder"):
        load(meta_files, text_encoder=None)
    with pytest.raises(ConfigError, match="vision_head_and_text_encoder"):
        load(meta_files, vision_head_and_text_encoder=meta_files.vision_head)
    with pytest.raises(ConfigError, match="DINOv3"):
        meta.load(backbone=meta_files.backbone)


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_half_precision_files_load_in_full_precision(meta_files: MetaFiles) -> None:
    head = torch.load(meta_files.vision_head, weights_only=True)
    path = meta_files.vision_head.with_suffix(".safetensors")
    save_file({name: value.bfloat16() for name, value in head.items()}, path)
    loaded = load(meta_files, vision_head=path)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


pytestmark = pytest.mark.filterwarnings("ignore:These files hold no logit_scale")


def bits(value: Tensor) -> Tensor:
    return value.contiguous().view(-1).view(torch.uint8)


def assert_same_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert torch.equal(bits(value), bits(second[name]))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dinov2s_files_come_back_without_a_bit_changed(
    meta_files: MetaFiles, tmp_path: Path, suffix: str, dtype: torch.dtype
) -> None:
    for path in (meta_files.vision_head, meta_files.text_encoder):
        state = torch.load(path, weights_only=True)
        torch.save({name: value.to(dtype) for name, value in state.items()}, path)
    weights = meta.read(
        backbone=meta_files.backbone,
        vision_head=meta_files.vision_head,
        text_encoder=meta_files.text_encoder,
    )
    from_meta(weights, tmp_path / "ours")
    head, text = to_meta(tmp_path / "ours", tmp_path / "again", suffix=suffix)
    assert_same_bits(read_state_dict(head), read_state_dict(meta_files.vision_head))
    assert_same_bits(read_state_dict(text), read_state_dict(meta_files.text_encoder))


def test_a_converted_folder_is_the_same_model(meta_files: MetaFiles, tmp_path: Path) -> None:
    arguments = {
        "backbone": meta_files.backbone,
        "vision_head": meta_files.vision_head,
        "text_encoder": meta_files.text_encoder,
    }
    from_meta(meta.read(**arguments), tmp_path / "ours")  # type: ignore[arg-type]
    images = torch.randn(1, 3, 28, 28)
    ours = load_model(tmp_path / "ours")
    expected = meta.load(**arguments).encode_image(images)  # type: ignore[arg-type]
    assert torch.equal(ours.model.encode_image(images), expected)
    assert ours.tokenizer.context_length == 77


def test_dinov3s_file_comes_back_without_a_bit_changed(
    meta_files: MetaFiles, tmp_path: Path
) -> None:
    state = to_dinov3(meta_files.state | {"logit_scale": torch.tensor(math.log(30))})
    path = tmp_path / "both.pth"
    torch.save(state, path)
    weights = meta.read(backbone=meta_files.backbone, vision_head_and_text_encoder=path)
    from_meta(weights, tmp_path / "ours")
    (again,) = to_meta(tmp_path / "ours", tmp_path / "again", layout="dinov3")
    assert_same_bits(read_state_dict(again), state)


def test_a_model_that_metas_layouts_cannot_hold_is_refused(
    config: ModelConfig, tmp_path: Path
) -> None:
    config = replace(config, vision_head=VisionHeadConfig(num_blocks=0, dim=32))
    save_model(
        DinoTxt.from_config(config),
        tmp_path,
        config=config,
        tokenizer=Tokenizer.clip(),
        transform=TransformConfig(),
    )
    with pytest.raises(CheckpointError, match="Meta's layouts hold"):
        to_meta(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
