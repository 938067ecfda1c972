"""The ablation's script: its pool, its views of one curation, its tables and plot."""

import argparse
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotxt.data.order.curated import KEEP_DTYPE, CuratedPairs
from dinotxt.data.readers.pairs import read_pairs

SCRIPT = Path(__file__).parents[2] / "examples" / "curation_ablation.py"
SUBJECTS = ("dog", "man", "girl", "boy", "tree")


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("curation_ablation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Write 40 pictures with two captions each, as often of every subject."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        word = SUBJECTS[number % 5]
        content = {"captions": [f"a {word} stands, {number}", f"the {word} sits, {number}"]}
        (folder / f"{number:02d}.json").write_text(json.dumps(content))
    return str(folder)


def _results() -> list[dict[str, Any]]:
    recalls = {"none": (0.10, 0.12, 0.14), "text": (0.13, 0.15, 0.17), "image": (0.2, 0.2, 0.2),
               "both": (0.16, 0.18, 0.29)}  # fmt: skip
    return [
        {
            "mode": mode,
            "seed": seed,
            "pairs_seen": 15_360,
            "kept": 2_000,
            "text_to_image_recall@1": value,
            "image_to_text_recall@1": value,
            "miou": value,
        }
        for mode, values in recalls.items()
        for seed, value in enumerate(values)
    ]


def test_the_pool_is_long_tailed_and_noisy(
    ablation: ModuleType, source: str, tmp_path: Path
) -> None:
    ablation.build_pool(source, tmp_path / "pool", 400)
    made = json.loads((tmp_path / "pool" / "done.json").read_text())
    pairs = read_pairs(str(tmp_path / "pool" / "*.tar"))
    assert len(pairs) == made["pairs"] == 400
    subjects = made["subjects"]
    assert subjects["dog"] > 1.5 * subjects["man"] > 1.5 * subjects["girl"]
    assert subjects["dog"] > 6 * subjects["other"]
    captions = [pair.captions[0] for pair in pairs]
    assert sum(text in ablation.GENERIC for text in captions) == made["says_nothing"]
    assert 0.1 < made["says_nothing"] / 400 < 0.2
    assert 0.14 < made["swapped"] / 400 < 0.26
    assert len(set(captions)) < 100
    assert pairs[0].image.open().size == (224, 224)


def test_the_pool_is_the_same_every_time(ablation: ModuleType, source: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ablation.build_pool(source, tmp_path / name, 20, shards=1)
    first, second = ((tmp_path / name / "00000.tar").read_bytes() for name in ("one", "two"))
    assert first == second


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    """Write what `curate run` leaves of 120 pairs for the draw."""
    keep = tmp_path / "curated" / "keep"
    keep.mkdir(parents=True)
    records = np.empty(120, dtype=KEEP_DTYPE)
    records["pair_id"] = np.arange(120)
    records["keep_text"], records["keep_image"] = 0.4, 0.6
    np.save(keep / "a.npy", records)
    (keep / "stage.json").write_text(json.dumps({"n_in": 120, "files": ["keep/a.npy"]}))
    return tmp_path


def test_views_of_one_curation_differ_in_mode_and_seed(ablation: ModuleType, curated: Path) -> None:
    every = np.arange(120, dtype=np.uint64)
    kept = {
        (mode, seed): set(
            every[CuratedPairs(ablation.view(curated, mode, seed)).keeps(every, 0)].tolist()
        )
        for mode in ablation.MODES
        for seed in range(2)
    }
    assert len(kept["none", 0]) == 120
    assert kept["both", 1] == kept["text", 1] & kept["image", 1]
    assert kept["both", 0] != kept["both", 1]


def test_tables_hold_means_with_student_intervals_and_differences_within_seeds(
    ablation: ModuleType, tmp_path: Path
) -> None:
    text = ablation.tables(_results())
    assert "| none | 2,000 | 7.7 | 12.0 ± 5.0 |" in text  # 4.303 * 2 / sqrt(3)
    assert "| image | 2,000 | 7.7 | 20.0 ± 0.0 |" in text
    assert "| text | +3.0 ± 0.0 |" in text
    assert "| both | +9.0 ± 12.9 |" in text
    ablation.plot(_results(), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 800


def test_a_run_trains_and_evaluates_once_on_its_view(
    ablation: ModuleType, curated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def verb(*arguments: object, jobs: int) -> None:
        del jobs
        commands.append([str(one) for one in arguments])
        metrics = dict.fromkeys(ablation.RECALLS, 0.25)
        content = {"seconds": 2.0, "last": {"metrics": metrics}, "metrics": {"miou": 0.5},
                   "ci": {"miou": [0.4, 0.6]}}  # fmt: skip
        path = Path(commands[-1][commands[-1].index("--json") + 1])
        path.write_text(json.dumps(content))

    monkeypatch.setattr(ablation, "dinotxt", verb)
    arguments = argparse.Namespace(steps=40, jobs=1, val="val.tar", camvid="camvid")
    first = ablation.run(curated, "both", 1, arguments)
    assert [command[0] for command in commands] == ["train", "eval"]
    assert f"data.curation={curated / 'views' / 'both-1'}" in commands[0]
    assert "steps=40" in commands[0]
    assert (first["pairs_seen"], first["miou"], first["seed"]) == (10_240, 0.5, 1)
    assert 15 < first["kept"] < 45
    assert ablation.run(curated, "both", 1, arguments) == first
    assert len(commands) == 2


def test_a_folder_of_other_arguments_is_refused(ablation: ModuleType, tmp_path: Path) -> None:
    first = argparse.Namespace(train="a.tar", steps=40, seeds=3, jobs=1, out=tmp_path)
    ablation.check_same(tmp_path, first)
    more_seeds = argparse.Namespace(**{**vars(first), "seeds": 5, "jobs": 2})
    ablation.check_same(tmp_path, more_seeds)
    longer = argparse.Namespace(**{**vars(first), "steps": 80})
    with pytest.raises(SystemExit, match="other steps"):
        ablation.check_same(tmp_path, longer)
