from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinotxt.errors import BackendError, ConfigError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.engines import torch_towers
from dinotxt.inference.engines.torch_towers import TorchTowers, find_device
from dinotxt.models.config import Embedding
from dinotxt.models.dinotxt import DinoTxt


def _pixels(num: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((num, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return load(tiny_model, device="cpu")


def _model(encoder: Encoder) -> TorchTowers:
    assert isinstance(encoder.towers, TorchTowers)
    return encoder.towers


def test_arrays_equal_what_the_model_gives(encoder: Encoder) -> None:
    towers, pixels = _model(encoder), _pixels(2)
    with torch.inference_mode():
        expected = towers.model.encode_image(torch.from_numpy(pixels)).numpy()
        patches = towers.model.encode_patches(torch.from_numpy(pixels)).numpy()
    np.testing.assert_array_equal(towers.encode_image(pixels), expected)
    np.testing.assert_array_equal(towers.encode_patches(pixels), patches)
    assert patches.shape == (2, 4, 4, towers.patch_dim)
    assert expected.shape == (2, encoder.embed_dim)


def test_a_cpu_encodes_a_few_pictures_at_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers, pixels = _model(encoder), _pixels(5)
    whole = towers.encode_image(pixels), towers.encode_patches(pixels)
    seen: list[int] = []
    model = towers.model
    assert isinstance(model, DinoTxt)
    hook = model.backbone.register_forward_pre_hook(lambda _, x: seen.append(len(x[0])))
    monkeypatch.setattr(torch_towers, "_PIXELS_AT_ONCE", 2 * 32**2)
    np.testing.assert_allclose(towers.encode_image(pixels), whole[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(towers.encode_patches(pixels), whole[1], rtol=1e-5, atol=1e-6)
    assert seen == [2, 2, 1] * 2
    monkeypatch.setattr(torch_towers, "_PIXELS_AT_ONCE", 1)
    assert towers.encode_image(pixels).shape == whole[0].shape
    assert seen[6:] == [1] * 5
    hook.remove()


def test_dense_text_is_the_second_half(encoder: Encoder) -> None:
    towers = _model(encoder)
    text = towers.encode_text(encoder.tokenizer(["a dog", "two cats on a sofa"]))
    np.testing.assert_array_equal(towers.dense_text(text), text[:, 32:])
    assert towers.dense_text(text).shape[1] == towers.patch_dim


def test_logit_scale_is_the_factor_and_not_its_logarithm(encoder: Encoder) -> None:
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_a_loaded_encoder_knows_its_name_size_and_hash(tiny_model: Path, encoder: Encoder) -> None:
    larger = load(tiny_model / "model", device="cpu", size=64)
    assert larger.transform.config.size == 64
    assert encoder.transform.config.size == 32
    assert larger.fingerprint == encoder.fingerprint
    assert encoder.encode_patches(np.zeros((40, 80, 3), np.uint8), size=40).shape == (5, 10, 32)


def test_devices_are_found_by_name() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in {"cpu", "cuda"}
    with pytest.raises(BackendError, match="give auto or cpu"):
        find_device("cuda:77")


@pytest.mark.parametrize(
    ("embedding", "width", "text"),
    [
        ("patch", 32, slice(32, 64)),
        ("cls_patch", 64, slice(0, 64)),
        ("value", 32, slice(0, 32)),
        ("value_patch", 64, slice(0, 64)),
    ],
)
def test_an_encoder_with_another_embedding_gives_its_patches_and_its_text(
    encoder: Encoder, embedding: Embedding, width: int, text: slice
) -> None:
    other, pixels = encoder.with_embedding(embedding), _pixels(1)
    with torch.inference_mode():
        model = _model(encoder).model
        expected = model.encode_patches(torch.from_numpy(pixels), embedding).numpy()
    np.testing.assert_array_equal(other.towers.encode_patches(pixels), expected)
    assert other.towers.patch_dim == width
    features = np.eye(64, dtype=np.float32)
    np.testing.assert_array_equal(other.towers.dense_text(features), features[:, text])
    picture = np.zeros((32, 32, 3), np.uint8)
    by_argument = encoder.encode_patches(picture, embedding=embedding)
    np.testing.assert_array_equal(by_argument, other.encode_patches(picture))
    assert other.fingerprint == encoder.fingerprint
    assert encoder.towers.patch_dim == 32


def test_values_can_be_compared_with_the_patch_half(encoder: Encoder) -> None:
    features = np.eye(64, dtype=np.float32)
    other = encoder.with_embedding("value", value_text="patch")
    np.testing.assert_array_equal(other.towers.dense_text(features), features[:, 32:])


def test_unknown_embeddings_are_refused(encoder: Encoder, colour_encoder: Encoder) -> None:
    wrong: Any = "cls"
    with pytest.raises(ConfigError, match="choose from patch"):
        encoder.with_embedding(wrong)
    half: Any = "global"
    with pytest.raises(ConfigError, match="give cls or patch"):
        encoder.with_embedding("value", value_text=half)
    with pytest.raises(ConfigError, match="one embedding"):
        colour_encoder.with_embedding("value")
