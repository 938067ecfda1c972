import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from dinotxt.checkpoints import baselines
from dinotxt.checkpoints.baselines import load_groupvit, load_openclip
from dinotxt.checkpoints.registry import resolve
from dinotxt.data.pictures.transform import Transform
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.segmenter import Segmenter, SlidingWindow
from dinotxt.text.tokenizer import Tokenizer

PREPROCESSING = {
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.4, 0.4, 0.4],
    "image_std": [0.2, 0.2, 0.2],
    "resample": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "groupvit"
    torch.manual_seed(0)
    width: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    groups = {"num_group_tokens": [6, 4, 0], "num_output_groups": [6, 4, 0], "depths": [1, 1, 1]}
    config = transformers.GroupViTConfig(
        text_config={**width, "num_hidden_layers": 1, "max_position_embeddings": 12},
        vision_config={**width, **groups, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        projection_intermediate_dim=16,
    )
    model = transformers.GroupViTModel(config)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn_like(value)
    model.save_pretrained(path)
    Tokenizer.clip(12).save(path / "tokenizer.json")
    (path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load(f"groupvit:{folder}", device="cpu")


@torch.inference_mode()
def test_features_are_those_of_transformers(folder: Path, encoder: Encoder) -> None:
    model = transformers.GroupViTModel.from_pretrained(folder).eval()
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    expected = model.get_image_features(torch.from_numpy(pixels)).pooler_output
    np.testing.assert_allclose(
        encoder.towers.encode_image(pixels), expected.numpy(), rtol=1e-3, atol=1e-4
    )
    tokens = encoder.tokenizer(["a cat", "a photo of two dogs"])
    mask = np.arange(tokens.ids.shape[1]) < tokens.lengths[:, None]
    text = model.get_text_features(
        torch.from_numpy(tokens.ids), attention_mask=torch.from_numpy(mask).long()
    ).pooler_output
    np.testing.assert_allclose(
        encoder.towers.encode_text(tokens), text.numpy(), rtol=1e-3, atol=1e-4
    )
    assert encoder.transform.config.size == 32
    assert encoder.transform.config.crop_ratio == 36 / 32
    assert encoder.transform.config.interpolation == "bilinear"


@torch.inference_mode()
def test_patches_give_the_segmentation_of_transformers(folder: Path, encoder: Encoder) -> None:
    model = transformers.GroupViTModel.from_pretrained(folder).eval()
    pixels = torch.from_numpy(
        np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    )
    tokens = encoder.tokenizer(["a cat", "a dog", "grass"])
    mask = torch.from_numpy(np.arange(tokens.ids.shape[1]) < tokens.lengths[:, None]).long()
    output = model(
        input_ids=torch.from_numpy(tokens.ids),
        attention_mask=mask,
        pixel_values=pixels,
        output_segmentation=True,
    )
    expected = output.segmentation_logits / model.logit_scale.exp() ** 2
    text = F.normalize(torch.from_numpy(encoder.towers.encode_text(tokens)), dim=-1)
    patches = torch.from_numpy(encoder.towers.encode_patches(pixels.numpy()))
    maps = (patches @ text.T).permute(0, 3, 1, 2)
    actual = F.interpolate(maps, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_pictures_of_any_aspect_are_segmented(encoder: Encoder) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    assert encoder.encode_patches(picture).shape == (4, 9, 16)
    result = Segmenter(encoder, ["cat", "dog"], templates="{}")(picture)
    assert sum(result.areas.values()) == pytest.approx(1)
    with pytest.raises(ConfigError, match="use patch"):
        encoder.with_embedding("value")


def test_another_kind_of_model_and_missing_files_are_refused(folder: Path, tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match="takes GroupViT alone"):
        load_groupvit(f"groupvit:{tmp_path / 'vit'}")
    part = tmp_path / "part"
    part.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (part / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        load_groupvit(f"groupvit:{part}")
    (part / "preprocessor_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be used"):
        load_groupvit(f"groupvit:{part}")


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
    ours = baselines._transform("name", vars(config))
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
        baselines._transform("openclip:x", {**known, **config})
