import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from dinotxt.checkpoints import openclip
from dinotxt.checkpoints.openclip import load_openclip
from dinotxt.checkpoints.registry import resolve
from dinotxt.data.pictures.transform import Transform
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.inference.encoder import load
from dinotxt.inference.segmenter import Segmenter, SlidingWindow

NAME = "dinotxt-test-tiny"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def _tiny_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(path)


def test_random_weights_are_the_same_each_time() -> None:
    first, second = (load_openclip(f"openclip:{NAME}/random") for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.transform.size == 32
    assert first.transform.crop_ratio == 1
    assert resolve(f"openclip:{NAME}/random").fingerprint == first.fingerprint


def test_features_are_those_of_open_clip(tmp_path: Path) -> None:
    model = open_clip.create_model(NAME).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = load(f"openclip:{NAME}/{tmp_path}/weights.pt", device="cpu")
    noise = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    texts = ["a photo of a cat", "DOGS &amp; others", "x " * 50]
    preprocess = image_transform_v2(
        PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), False
    )
    with torch.inference_mode():
        image = model.encode_image(preprocess(Image.fromarray(noise))[None], normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(NAME)(texts), normalize=True)
    np.testing.assert_allclose(encoder.encode_image(noise), image.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_text(texts), text.numpy(), rtol=1e-3, atol=1e-5)
    assert encoder.name == f"openclip:{NAME}/{tmp_path}/weights.pt"


def test_a_folder_with_its_own_tokenizer_and_preprocessing_is_a_model(tmp_path: Path) -> None:
    preprocess = {"resize_mode": "squash", "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5]}
    content = {"model_cfg": CONFIG, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    model = open_clip.create_model(NAME)
    save_file(dict(model.state_dict()), tmp_path / "open_clip_model.safetensors")
    loaded = load_openclip(f"openclip:{tmp_path}")
    assert loaded.transform.resize == "squash"
    assert loaded.transform.interpolation == "bilinear"
    assert loaded.transform.mean == (0.5, 0.5, 0.5)
    batch = loaded.tokenizer(["a cat"])
    assert batch.ids.tolist() == open_clip.get_tokenizer(NAME)(["a cat"]).tolist()
    assert batch.lengths.tolist() == [16]
    with pytest.raises(ConfigError, match="not written"):
        loaded.tokenizer.save(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pictures_are_prepared_as_open_clip_prepares_them(mode: str, interpolation: str) -> None:
    config = PreprocessCfg(size=32, resize_mode=mode, interpolation=interpolation)
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (47, 90, 3), dtype=np.uint8)
    )
    ours = openclip._transform("name", vars(config))
    expected = image_transform_v2(config, False)(picture).numpy()
    np.testing.assert_allclose(Transform(ours)(picture), expected, atol=1e-5)


def test_patches_of_any_aspect_are_compared_with_the_text() -> None:
    encoder = load(f"openclip:{NAME}/random", device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    assert encoder.encode_patches(picture).shape == (4, 9, 16)
    for mode in (None, SlidingWindow(32, 16)):
        segment = Segmenter(encoder, ["cat", "dog"], mode=mode, templates="{}", embedding="value")
        assert sum(segment(picture).areas.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dinotxt-test-tinny/random", f"Did you mean {NAME}"),
        ("ViT-B-32", "no weights are named.*laion2b_s34b_b79k"),
        ("ViT-B-32/laion5b", "'laion5b' is no file and no weights of it"),
        ("ViT-B-32/missing.pt", "path of a file"),
        ("", "knows no model ''"),
    ],
)
def test_unknown_models_and_weights_are_refused_with_the_known_ones(
    name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_openclip(f"openclip:{name}")


def test_weights_that_cannot_be_fetched_are_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr("open_clip.factory.download_pretrained", offline)
    with pytest.raises(CheckpointError, match=r"no network.*openclip:NAME/PATH"):
        load_openclip("openclip:RN50/openai")


def test_weights_of_another_model_and_code_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_openclip(f"openclip:{NAME}/{tmp_path / 'other.pt'}")
    torch.save({"a": Path("code")}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_openclip(f"openclip:{NAME}/{tmp_path / 'code.pt'}")
    with pytest.raises(CheckpointError, match="config file missing"):
        load_openclip(f"openclip:{tmp_path}")


@pytest.mark.parametrize("config", [{"size": (32, 64)}, {"resize_mode": "longest"}])
def test_unknown_preprocessing_is_refused(config: dict[str, Any]) -> None:
    known = {"size": 32, "interpolation": "bicubic", "mean": (0,) * 3, "std": (1,) * 3}
    with pytest.raises(ConfigError, match="prepared"):
        openclip._transform("openclip:x", {**known, **config})
