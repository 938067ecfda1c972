import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinotxt.checkpoints.exported import read_export
from dinotxt.checkpoints.registry import describe
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.export.folder import Export, check_sizes, export
from dinotxt.inference.encoder import load
from dinotxt.inference.segmenter import Segmenter, SlidingWindow

TEXTS = ["a dog", "a photo of two red boats on a lake", "x", "word " * 200]


def pixels(size: int, count: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, 3, size, size), dtype=np.float32)


def test_the_folder_holds_the_files_of_the_contract(exported: Export) -> None:
    names = {path.name for path in exported.folder.iterdir()}
    files = {"image-32.onnx", "image-64.onnx", "text.onnx", "tokenizer.json", "config.json"}
    assert names == {*files, "int8"}
    assert {path.name for path in (exported.folder / "int8").iterdir()} == files
    assert exported.sizes == (32, 64)


@pytest.mark.parametrize("size", [32, 64])
def test_pictures_have_the_features_of_torch(exported: Export, tiny_model: Path, size: int) -> None:
    ours, theirs = load(exported.folder).towers, load(str(tiny_model)).towers
    batch = pixels(size)
    for one in (batch, batch[:1]):
        assert np.allclose(ours.encode_image(one), theirs.encode_image(one), atol=1e-5)
        assert np.allclose(ours.encode_patches(one), theirs.encode_patches(one), atol=1e-5)


def test_texts_of_any_length_have_the_features_of_torch(exported: Export, tiny_model: Path) -> None:
    ours, theirs = load(exported.folder), load(str(tiny_model))
    together = ours.towers.encode_text(ours.tokenizer(TEXTS))
    assert np.allclose(together, theirs.towers.encode_text(theirs.tokenizer(TEXTS)), atol=1e-5)
    alone = [ours.towers.encode_text(ours.tokenizer([text]))[0] for text in TEXTS]
    assert np.allclose(together, alone, atol=1e-5)
    assert ours.towers.encode_text(ours.tokenizer([])).shape == (0, ours.embed_dim)


def test_positions_are_baked_into_the_file(exported: Export) -> None:
    graph = onnx.load(exported.folder / "image-64.onnx").graph
    assert "Resize" not in {node.op_type for node in graph.node}


def test_eight_bits_change_the_features_a_little_and_say_so(
    exported: Export, tiny_model: Path
) -> None:
    fp32, int8 = load(exported.folder), load(exported.folders["int8"])
    first, second = fp32.towers.encode_image(pixels(32)), int8.towers.encode_image(pixels(32))
    cosine = (
        (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    )
    assert 0.99 < cosine.min() < 0.9999999
    assert fp32.fingerprint == load(str(tiny_model)).fingerprint
    assert int8.fingerprint != fp32.fingerprint
    kinds = {node.op_type for node in onnx.load(exported.folder / "int8" / "text.onnx").graph.node}
    assert "MatMulInteger" in kinds


def test_segments_are_those_of_torch_in_windows_of_an_exported_size(
    exported: Export, tiny_model: Path
) -> None:
    picture = Image.effect_noise((100, 64), 90).convert("RGB")
    mode = SlidingWindow(64, 32)
    maps = [
        Segmenter(load(model), ["a dog", "grass", "sky"], mode=mode)(picture).label_map
        for model in (exported.folder, str(tiny_model))
    ]
    assert (maps[0] == maps[1]).mean() > 0.999


def test_a_whole_picture_becomes_the_nearest_square(exported: Export) -> None:
    encoder = load(exported.folder)
    picture = Image.new("RGB", (150, 90))
    assert encoder.whole_pixels(picture, 70).shape == (3, 64, 64)
    assert encoder.whole_pixels(picture, 40).shape == (3, 32, 32)
    assert Segmenter(encoder, ["a", "b"])(picture).label_map.shape == (90, 150)


def test_templates_come_with_the_folder(exported: Export) -> None:
    sets = read_export(exported.folder).inference["template_sets"]
    assert len(sets["openai-80"]) == 80
    assert load(exported.folder).defaults.find_templates("tcl-9") == tuple(sets["tcl-9"])


def test_a_size_that_was_not_exported_is_an_error_that_names_the_fix(exported: Export) -> None:
    with pytest.raises(ConfigError, match="export that size"):
        load(exported.folder, size=48)
    with pytest.raises(ConfigError, match="32x32, 64x64"):
        load(exported.folder).towers.encode_image(pixels(48))


def test_a_torn_file_is_an_error(exported: Export, tmp_path: Path) -> None:
    for name in ("image-32.onnx", "image-64.onnx", "text.onnx", "tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((exported.folder / name).read_bytes())
    (tmp_path / "text.onnx").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="copy the whole folder again"):
        load(tmp_path)


def test_a_configuration_of_another_version_is_an_error(exported: Export, tmp_path: Path) -> None:
    content = json.loads((exported.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(CheckpointError, match="Export the model again"):
        load(tmp_path)


def test_a_size_that_the_patch_does_not_divide_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 224"):
        check_sizes([225], 14)
    assert check_sizes([448, 224, 448], 14) == [224, 448]


def test_wrong_precisions_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fp32 and int8"):
        export(str(tiny_model), tmp_path, precisions=("int8",))


def test_an_export_is_described_without_opening_it(exported: Export) -> None:
    found = describe(str(exported.folders["int8"]))
    assert found["precision"] == "int8"
    assert sorted(found["images"]) == ["32", "64"]
    assert "openai-80" in found["template_sets"]


def test_an_export_can_be_saved_for_the_hub(exported: Export, tmp_path: Path) -> None:
    encoder = load(exported.folder)
    encoder.save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved").fingerprint == encoder.fingerprint
    assert load(tmp_path / "saved" / "int8").embed_dim == encoder.embed_dim
    assert "onnx" in (tmp_path / "saved" / "README.md").read_text()
