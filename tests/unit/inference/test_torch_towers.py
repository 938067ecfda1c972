from pathlib import Path

import numpy as np
import pytest
import torch

from dinotxt.errors import BackendError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.torch_towers import TorchTowers, find_device


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
