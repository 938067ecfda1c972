"""Meta's layouts against features that the released code computed (tests/fixtures/golden)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dinotxt.checkpoints import meta
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
MODELS = ["vit14", "vit14_reg4"]
SIZES = ["224x224", "196x280", "518x518"]
CAPTIONS = [
    "a photo of a dog",
    "two people riding bicycles on a sunny street, near the café & bar!",
    "",
]


def expand_text_encoder(path: Path, target: Path) -> Path:
    """Write the official layout: the golden files hold only the used rows of the embedding."""
    state = load_file(path)
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    table = torch.zeros(49408, values.shape[1])
    table[rows] = values
    state["backbone.token_embedding.weight"] = table
    save_file(state, target)
    return target


@pytest.fixture(scope="module", params=MODELS)
def golden(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DinoTxt, dict[str, Tensor]]:
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    text_encoder = expand_text_encoder(
        GOLDEN / f"{name}_text_encoder.safetensors", folder / "text_encoder.safetensors"
    )
    with pytest.warns(UserWarning, match="no logit_scale"):
        model = meta.load(
            backbone=GOLDEN / f"{name}_backbone.safetensors",
            vision_head=GOLDEN / f"{name}_vision_head.safetensors",
            text_encoder=text_encoder,
            text_num_heads=4,
        )
    return model, load_file(GOLDEN / f"{name}_expected.safetensors")


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error.item() <= 1e-5


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_backbone_tokens_agree_with_the_reference(
    golden: tuple[DinoTxt, dict[str, Tensor]], size: str
) -> None:
    model, expected = golden
    tokens = model.backbone(expected[f"image.{size}"].float())
    assert_close(tokens.cls, expected[f"backbone_cls.{size}"])
    assert_close(tokens.patches, expected[f"backbone_patch.{size}"])


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_head_tokens_and_image_features_agree_with_the_reference(
    golden: tuple[DinoTxt, dict[str, Tensor]], size: str
) -> None:
    model, expected = golden
    images = expected[f"image.{size}"].float()
    tokens = model.vision_head(model.backbone(images))
    assert_close(tokens.cls, expected[f"cls_token.{size}"])
    assert_close(model.encode_patches(images).flatten(1, 2), expected[f"patch_tokens.{size}"])
    assert_close(model.encode_image(images), expected[f"image_features.{size}"])


@torch.no_grad()
def test_text_features_agree_with_the_reference(
    golden: tuple[DinoTxt, dict[str, Tensor]],
) -> None:
    model, expected = golden
    assert_close(model.encode_text(expected["tokens"]), expected["text_features"])


def test_token_ids_agree_with_the_reference(golden: tuple[DinoTxt, dict[str, Tensor]]) -> None:
    _, expected = golden
    batch = Tokenizer.clip()(CAPTIONS)
    assert torch.equal(torch.from_numpy(batch.pad_to(77)), expected["tokens"])


def test_logit_scale_is_a_hundred_where_the_files_have_none(
    golden: tuple[DinoTxt, dict[str, Tensor]],
) -> None:
    model, _ = golden
    assert model.logit_scale.exp().item() == pytest.approx(100)
