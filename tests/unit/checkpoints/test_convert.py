import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.checkpoints.conftest import MetaFiles
from torch import Tensor

from dinotxt.checkpoints import meta
from dinotxt.checkpoints.convert import from_meta, to_meta
from dinotxt.checkpoints.format import load_model, save_model
from dinotxt.checkpoints.layouts import to_dinov3
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError
from dinotxt.models.config import ModelConfig, VisionHeadConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.weights import read_state_dict
from dinotxt.text.tokenizer import Tokenizer

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
