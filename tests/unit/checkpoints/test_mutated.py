"""Whatever the JSON of a model or an export says: it loads, or is one clear error."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinotxt.checkpoints.exported import (
    ExportConfig,
    describe_file,
    read_export,
    write_export,
)
from dinotxt.checkpoints.format import load_model, save_model
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import DinotxtError
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer

_LEAVES: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 64, 0.5, -0.5, float("nan"), float("inf"), 10**9),
    *("", ".", "..", "../x", "/etc/hostname", "a/b", "x", "os:getcwd", "resnet18", "vit_x", "\0"),
    *("http://127.0.0.1:9/x.pth", "folder:../x", "ordered:x", "random", "wheel:x", "groups:", "hf"),
    *([], {}, [1], [None], ["x"], {"x": 1}, {"kind": "pretrained"}, [[[1]]], [0.5, 0.5]),
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 28}
    config = ModelConfig(
        backbone=BackboneConfig(name="vit_small_patch14_dinov2", weights="random", options=options),
        vision_head=VisionHeadConfig(num_blocks=1, dim=16, num_heads=2),
        text_encoder=TransformerTextConfig(width=16, layers=1, heads=2),
        half_weights=(0.5, 1.0),
    )
    folder = tmp_path_factory.mktemp("mutated") / "model"
    save_model(
        DinoTxt.from_config(config).eval(),
        folder,
        config=config,
        tokenizer=Tokenizer.clip(20),
        transform=TransformConfig(size=28),
        extra={"inference": {"size": 28}},
    )
    return folder


@pytest.fixture(scope="module")
def export_folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("mutated") / "export"
    folder.mkdir()
    for name in ("image-28.onnx", "text.onnx"):
        (folder / name).write_bytes(name.encode())
    shutil.copy(model_folder / "tokenizer.json", folder)
    config = ExportConfig(
        name="x",
        precision="fp32",
        fingerprint="0",
        embed_dim=4,
        patch_dim=4,
        patch_size=14,
        in_channels=3,
        dense_start=0,
        logit_scale=10.0,
        images={28: describe_file(folder / "image-28.onnx")},
        text=describe_file(folder / "text.onnx"),
        tokenizer=describe_file(folder / "tokenizer.json"),
        context_length=20,
        transform=TransformConfig(size=28),
    )
    write_export(folder, config)
    return folder


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in a tree, the tree's own first."""
    yield path
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(value, (*path, key))


@st.composite
def mutations(draw: st.DrawFn, content: Any) -> Any:
    """Change one to three places: another value, no value, or one more key."""
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from([path for path in places(content) if path]))
        branch = content
        for key in where[:-1]:
            branch = branch[key]
        action = draw(st.sampled_from(["set", "set", "set", "delete", "add"]))
        value = json.loads(json.dumps(draw(st.sampled_from(_LEAVES))))
        if action == "set":
            branch[where[-1]] = value
        elif action == "delete":
            del branch[where[-1]]
        elif isinstance(branch, dict):
            branch[draw(st.sampled_from(["x", "options", "kind", "file", "trust_code"]))] = value
    return content


def check(folder: Path, read: Any, data: st.DataObject) -> None:
    path = folder / "config.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(data.draw(mutations(json.loads(before)))))
        read(folder)
    except DinotxtError:
        pass
    finally:
        path.write_text(before)


_QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_LONG = settings(_QUICK, max_examples=500)


@pytest.mark.filterwarnings("ignore::UserWarning")
@_QUICK
@given(data=st.data())
def test_a_changed_model_folder_loads_or_is_one_error(
    model_folder: Path, data: st.DataObject
) -> None:
    check(model_folder, load_model, data)


@_QUICK
@given(data=st.data())
def test_a_changed_export_loads_or_is_one_error(export_folder: Path, data: st.DataObject) -> None:
    check(export_folder, read_export, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@_LONG
@given(data=st.data())
def test_many_changed_model_folders_load_or_are_one_error(
    model_folder: Path, data: st.DataObject
) -> None:
    check(model_folder, load_model, data)


@pytest.mark.slow
@_LONG
@given(data=st.data())
def test_many_changed_exports_load_or_are_one_error(
    export_folder: Path, data: st.DataObject
) -> None:
    check(export_folder, read_export, data)
