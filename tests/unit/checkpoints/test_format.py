import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.checkpoints.conftest import MetaFiles

from dinotxt.checkpoints.format import load_model, save_model
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError
from dinotxt.models.config import ModelConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer

TRANSFORM = TransformConfig(size=56, resize="squash")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.clip(20)


@pytest.fixture
def folder(model: DinoTxt, config: ModelConfig, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    path = tmp_path / "saved"
    save_model(
        model, path, config=config, tokenizer=tokenizer, transform=TRANSFORM, extra={"step": 3}
    )
    return path


def weights_file(folder: Path) -> Path:
    (path,) = folder.glob("model-*.safetensors")
    return path


def test_a_saved_model_comes_back_as_it_was(folder: Path, model: DinoTxt) -> None:
    loaded = load_model(folder)
    images = torch.randn(2, 3, 56, 56)
    assert torch.equal(loaded.model.encode_image(images), model.encode_image(images))
    assert not loaded.model.training
    assert loaded.transform == TRANSFORM
    assert loaded.tokenizer.context_length == 20
    assert loaded.tokenizer("a dog").ids.tolist() == Tokenizer.clip()("a dog").ids.tolist()
    assert (loaded.name, loaded.extra["step"]) == ("saved", 3)


def test_the_frozen_backbone_is_not_in_the_file(folder: Path) -> None:
    assert not any(name.startswith("backbone") for name in load_file(weights_file(folder)))


def test_a_folder_keeps_working_when_it_is_moved(folder: Path, tmp_path: Path) -> None:
    before = load_model(folder).fingerprint
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert load_model(moved).fingerprint == before


def test_saving_again_replaces_the_weights_and_the_fingerprint(
    folder: Path, model: DinoTxt, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    before = load_model(folder).fingerprint
    torch.nn.init.constant_(model.logit_scale, 1)
    save_model(model, folder, config=config, tokenizer=tokenizer, transform=TRANSFORM)
    again = load_model(folder)
    assert again.model.logit_scale.item() == 1
    assert again.fingerprint != before
    assert len(list(folder.iterdir())) == 3


def test_another_transform_is_another_fingerprint(
    folder: Path, model: DinoTxt, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    before = load_model(folder).fingerprint
    other = replace(TRANSFORM, size=70)
    save_model(model, folder, config=config, tokenizer=tokenizer, transform=other)
    assert load_model(folder).fingerprint != before


def test_half_precision_is_stored_and_loaded_in_full(
    folder: Path, model: DinoTxt, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    full = weights_file(folder).stat().st_size
    save_model(
        model,
        folder,
        config=config,
        tokenizer=tokenizer,
        transform=TRANSFORM,
        dtype=torch.float16,
    )
    assert weights_file(folder).stat().st_size < 0.6 * full
    loaded = load_model(folder).model
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    expected = model.vision_head.ln_final.weight.half().float()
    assert torch.equal(loaded.vision_head.ln_final.weight, expected)  # type: ignore[arg-type]


def test_a_full_disk_while_saving_leaves_the_old_model_whole(
    folder: Path,
    model: DinoTxt,
    config: ModelConfig,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = load_model(folder).fingerprint
    torch.nn.init.constant_(model.logit_scale, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for place in ("write_safetensors", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(f"dinotxt.checkpoints.format.{place}", full)
            with pytest.raises(OSError, match="No space"):
                save_model(model, folder, config=config, tokenizer=tokenizer, transform=TRANSFORM)
        assert load_model(folder).fingerprint == before


def truncate(folder: Path) -> None:
    path = weights_file(folder)
    path.write_bytes(path.read_bytes()[:-100])


def swap(folder: Path) -> None:
    save_file({"logit_scale": torch.ones(())}, weights_file(folder))


def lose(folder: Path) -> None:
    weights_file(folder).unlink()


def tear_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text()[:200])


def change_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize("damage", [truncate, swap, lose, tear_config, change_tokenizer])
def test_a_damaged_folder_is_an_error_that_names_the_fix(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=r"[Cc]opy the whole folder again"):
        load_model(folder)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_of_another_program_or_version_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_model(tmp_path / "empty")
    edit(folder, format=3)
    with pytest.raises(CheckpointError, match="format 3"):
        load_model(folder)
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(CheckpointError, match="another program"):
        load_model(folder)


def test_weights_of_another_architecture_are_refused_with_their_keys(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["model"].setdefault("vision_head", {})
    content["model"]["vision_head"]["num_blocks"] = 1
    edit(folder, model=content["model"])
    with pytest.raises(CheckpointError, match=r"unexpected vision_head\.blocks\.1"):
        load_model(folder)
    content["model"]["vision_head"]["colour"] = "red"
    edit(folder, model=content["model"])
    with pytest.raises(CheckpointError, match="colour"):
        load_model(folder)


def test_another_frozen_backbone_is_refused(folder: Path) -> None:
    edit(folder, frozen_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="other frozen weights"):
        load_model(folder)


def test_the_backbones_file_is_found_in_the_models_folder_or_where_it_was(
    config: ModelConfig,
    meta_files: MetaFiles,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(meta_files.backbone.parent)
    config = replace(config, backbone=replace(config.backbone, weights="backbone.safetensors"))
    model = DinoTxt.from_config(config)
    folder = tmp_path / "run"
    save_model(model, folder, config=config, tokenizer=tokenizer, transform=TRANSFORM)
    monkeypatch.chdir(tmp_path)
    fingerprint = load_model(folder).fingerprint
    gone = shutil.move(meta_files.backbone, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="which is gone"):
        load_model(folder)
    shutil.move(gone, folder / "backbone.safetensors")
    assert load_model(folder).fingerprint == fingerprint
    meta_files.backbone.write_bytes(b"another file by now")
    assert load_model(folder).fingerprint == fingerprint


def test_a_trained_backbone_is_saved_and_needs_no_other_file(
    config: ModelConfig, meta_files: MetaFiles, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    backbone = replace(config.backbone, frozen=False, weights=str(meta_files.backbone))
    config = replace(config, backbone=backbone)
    model = DinoTxt.from_config(config).eval()
    save_model(model, tmp_path / "run", config=config, tokenizer=tokenizer, transform=TRANSFORM)
    meta_files.backbone.unlink()
    images = torch.randn(1, 3, 28, 28)
    loaded = load_model(tmp_path / "run").model
    assert torch.equal(loaded.encode_image(images), model.encode_image(images))
