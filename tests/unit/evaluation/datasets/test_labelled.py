import inspect
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.evaluation.datasets.conftest import lines, picture

from dinotxt.data.pictures.image import open_image
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.datasets import open_labelled
from dinotxt.results.skip import Skip
from dinotxt.text.published import imagenet_ids


def test_imagenet_is_read_from_class_folders_and_all_classes_compete(tmp_path: Path) -> None:
    picture(tmp_path / "val" / "n01443537" / "ILSVRC2012_val_00000003.JPEG")
    found = open_labelled(f"imagenet:{tmp_path}")
    assert [item.label for item in found.items] == [1]
    assert found.class_names == imagenet_ids()
    assert found.name == "imagenet"


def test_imagenet_is_read_from_the_challenge_files(tmp_path: Path) -> None:
    for number in (1, 2):
        name = f"ILSVRC2012_val_0000000{number}"
        picture(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val" / f"{name}.JPEG")
    rows = ("ILSVRC2012_val_00000001,n01440764 1 2 3 4", "ILSVRC2012_val_00000002,n0 1 2 3 4")
    lines(tmp_path / "LOC_val_solution.csv", "ImageId,PredictionString", *rows)
    skips: list[Skip] = []
    found = open_labelled(tmp_path, on_skip=skips.append)
    assert [(item.key, item.label) for item in found.items] == [("ILSVRC2012_val_00000001", 0)]
    assert skips[0].reason == "its class is none of ImageNet's"


@pytest.mark.parametrize("labels", [(0, 1, 10, 999), (7, 12)])
def test_imagenet_v2_takes_the_label_from_the_folder(
    tmp_path: Path, labels: tuple[int, ...]
) -> None:
    for label in labels:
        picture(tmp_path / "imagenetv2-matched-frequency-format-val" / str(label) / "a.jpeg")
    found = open_labelled(f"imagenet-v2:{tmp_path}")
    assert sorted(item.label for item in found.items) == list(labels)


def test_all_200_classes_of_imagenet_a_compete_also_on_a_part_of_it(tmp_path: Path) -> None:
    clip_benchmark = pytest.importorskip("clip_benchmark.datasets.builder")
    picture(tmp_path / "imagenet-a" / "n01531178" / "0.003_fox_1.jpg")
    picture(tmp_path / "imagenet-a" / "n12267677" / "0.003_fox_2.jpg")
    picture(tmp_path / "imagenet-a" / "n01440764" / "no_class_of_a.jpg")
    found = open_labelled(f"imagenet-a:{tmp_path}")
    assert [item.label for item in found.items] == [1, 199]
    source = inspect.getsource(clip_benchmark.build_dataset)
    listed = next(line for line in source.splitlines() if "imagenet_a_wnids = [" in line)
    assert found.class_names == tuple(re.findall(r"n\d{8}", listed))


@pytest.fixture
def objectnet(tmp_path: Path) -> Path:
    base = tmp_path / "objectnet-1.0"
    for folder in ("air_freshener", "backpack", "chair"):
        path = base / "images" / folder / "1.png"
        picture(path, (255, 0, 0))
        image = Image.open(path)
        image.paste((0, 0, 255), (1, 1, 7, 5))
        image.save(path)
    names = {"air_freshener": "Air freshener", "backpack": "Backpack", "chair": "Chair"}
    shared = {"Backpack": "backpack, back pack", "Chair": "folding chair; rocking chair"}
    (base / "mappings").mkdir()
    (base / "mappings" / "folder_to_objectnet_label.json").write_text(json.dumps(names))
    (base / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps(shared))
    return tmp_path


def test_objectnet_keeps_the_classes_that_imagenet_has(objectnet: Path) -> None:
    found = open_labelled(objectnet)
    assert found.class_names == ("backpack", "chair")
    assert [item.label for item in found.items] == [0, 1]
    assert open_image(found.items[0].image).getpixel((0, 0)) == (255, 0, 0)


def test_the_red_border_is_cut_off_on_demand(objectnet: Path) -> None:
    found = open_labelled(f"objectnet:{objectnet}", trim_border=1)
    image = open_image(found.items[0].image)
    assert image.size == (6, 4)
    assert set(image.get_flattened_data()) == {(0, 0, 255)}
    with pytest.raises(DataError, match="all of it within the border of 3"):
        open_image(open_labelled(objectnet, trim_border=3).items[0].image)
    with pytest.raises(ConfigError, match="trim_border goes with ObjectNet"):
        open_labelled(objectnet / "objectnet-1.0" / "images", trim_border=1)


def test_objectnet_without_its_mappings_names_them(objectnet: Path) -> None:
    (objectnet / "objectnet-1.0" / "mappings").rename(objectnet / "elsewhere")
    with pytest.raises(DataError, match="it has no mappings/folder_to_objectnet_label"):
        open_labelled(f"objectnet:{objectnet}")


def test_objectnet_names_what_is_missing_and_no_more(objectnet: Path) -> None:
    base = objectnet / "objectnet-1.0"
    (base / "images" / "chair" / "1.png").unlink()
    skips: list[Skip] = []
    assert len(open_labelled(objectnet, on_skip=skips.append).items) == 1
    assert [(Path(skip.path).name, skip.reason) for skip in skips] == [
        ("chair", "the class has no picture")
    ]
    (base / "mappings" / "objectnet_to_imagenet_1k.json").unlink()
    with pytest.raises(DataError, match=r"no mappings/objectnet_to_imagenet_1k\.json\. Unpack"):
        open_labelled(objectnet)
    (base / "images").rename(objectnet / "elsewhere")
    with pytest.raises(DataError, match="it has no images/, no mappings/objectnet_to_imagenet"):
        open_labelled(f"objectnet:{objectnet}")


def test_inaturalist_has_the_names_of_its_own_file(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "val/00000_Pica/a.jpg"}],
        "annotations": [{"image_id": 7, "category_id": 3}, {"image_id": 8, "category_id": 3}],
        "categories": [
            {"id": 2, "name": "Quercus robur", "common_name": "English Oak"},
            {"id": 3, "name": "Pica pica", "common_name": ""},
        ],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"none of its pictures: unpack val\.tar\.gz"):
        open_labelled(f"inaturalist2021:{tmp_path}")
    picture(tmp_path / "val" / "00000_Pica" / "a.jpg")
    skips: list[Skip] = []
    found = open_labelled(f"inaturalist2021:{tmp_path}", on_skip=skips.append)
    assert [(item.key, item.label) for item in found.items] == [("val/00000_Pica/a.jpg", 1)]
    assert found.class_names == ("Quercus robur", "Pica pica")
    assert found.variants["common"] == ("English Oak", "Pica pica")
    assert found.variants["both"] == ("Quercus robur | English Oak", "Pica pica")
    assert len(skips) == 1
    with pytest.raises(DataError, match=r"it has no train\.json"):
        open_labelled(f"inaturalist2021:{tmp_path}#train")
    (tmp_path / "val.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="has no lists images, annotations, categories"):
        open_labelled(f"inaturalist2021:{tmp_path}")


def test_places205_takes_its_names_from_the_folders(tmp_path: Path) -> None:
    rows = ("a/abbey/gsun_1.jpg 0", "a/apartment_building/outdoor/gsun_2.jpg 1", "nonsense")
    lines(tmp_path / "trainvalsplit_places205" / "val_places205.csv", *rows)
    base = tmp_path / "data" / "vision" / "torralba" / "deeplearning" / "images256"
    picture(base / "a" / "abbey" / "gsun_1.jpg")
    skips: list[Skip] = []
    found = open_labelled(tmp_path, on_skip=skips.append)
    assert found.class_names == ("abbey", "apartment_building outdoor")
    assert [item.label for item in found.items] == [0, 1]
    assert skips[0].reason == "it is not a path and a number"
    (base / "a" / "abbey" / "gsun_1.jpg").unlink()
    with pytest.raises(DataError, match="unpack imagesPlaces205_resize there"):
        open_labelled(tmp_path, on_skip=skips.append)


def _planes() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 3072)).astype(np.uint8)


@pytest.mark.parametrize("version", ["binary", "python", "python written anew"])
def test_cifar10_is_read_from_all_versions(tmp_path: Path, version: str) -> None:
    planes, labels = _planes(), [0, 9, 1, 1]
    names = ["airplane", "automobile", *"cdefghij"]
    if version == "binary":
        base = tmp_path / "cifar-10-batches-bin"
        lines(base / "batches.meta.txt", *names, "")
        rows = [bytes([label]) + row.tobytes() for label, row in zip(labels, planes, strict=True)]
        (base / "test_batch.bin").write_bytes(b"".join(rows))
    else:
        base = tmp_path / "cifar-10-batches-py"
        base.mkdir()
        words: dict[object, object] = {b"label_names": [name.encode() for name in names]}
        batch: dict[object, object] = {b"data": planes, b"labels": labels}
        if version != "python":  # Python 3 has text where Python 2 had bytes
            words = {"label_names": names}
            batch = {"data": planes, "labels": labels}
        (base / "batches.meta").write_bytes(pickle.dumps(words, protocol=2))
        (base / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    found = open_labelled(tmp_path)
    assert found.class_names == tuple(names)
    assert [item.label for item in found.items] == labels
    image = np.asarray(open_image(found.items[1].image))
    np.testing.assert_array_equal(image[3, 5], planes[1].reshape(3, 32, 32)[:, 3, 5])


def test_cifar100_takes_the_fine_label(tmp_path: Path) -> None:
    base = tmp_path / "cifar-100-binary"
    lines(base / "fine_label_names.txt", *(f"class{number}" for number in range(100)))
    (base / "test.bin").write_bytes(bytes([19, 99]) + _planes()[0].tobytes())
    found = open_labelled(f"cifar100:{tmp_path}")
    assert [item.label for item in found.items] == [99]
    (base / "test.bin").write_bytes(b"123")
    with pytest.raises(DataError, match="no whole number of pictures"):
        open_labelled(f"cifar100:{tmp_path}")


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    (base / "batches.meta").write_bytes(pickle.dumps({b"label_names": _Malicious()}))
    with pytest.raises(DataError, match="which is no array"):
        open_labelled(tmp_path)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("imagenet", "no class folders such as val/n01440764/"),
        ("imagenet-v2", "no folders 0 to 999"),
        ("imagenet-a", "no class folders such as n01498041/"),
        ("objectnet", "no images/"),
        ("inaturalist2021", r"no val\.json"),
        ("places205", r"no val_places205\.csv"),
        ("cifar10", r"neither cifar-10-batches-bin/batches\.meta\.txt"),
        ("cifar100", "neither cifar-100-binary"),
    ],
)
def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path, name: str, missing: str) -> None:
    with pytest.raises(DataError, match=missing):
        open_labelled(f"{name}:{tmp_path}")


def test_any_other_folder_has_its_own_classes(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    picture(tmp_path / "dog" / "1.png")
    found = open_labelled(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert found.name is None
