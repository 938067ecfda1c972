"""The four analyses on pictures whose left half is red and whose right half is green."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.analysis import (
    Search,
    analyze_boundaries,
    analyze_class_names,
    analyze_embeddings,
    analyze_errors,
)
from dinotxt.evaluation.datasets import open_masks
from dinotxt.evaluation.job import Job
from dinotxt.inference.dense.highres import HighRes
from dinotxt.inference.dense.window import Whole
from dinotxt.inference.encoder import load
from dinotxt.text.wordnet.lexicon import Lexicon

MakeJob = Callable[..., Job]


class Relations:
    """A lexicon that calls red a part of green."""

    def relation(self, true: str, predicted: str) -> str | None:
        return "part" if (true, predicted) == ("green", "red") else None

    def sense(self, name: str) -> int | None:
        return None if name == "blue" else 1


def _two_sets(make_masks: Callable[..., Path], tmp_path: Path, classes: str) -> tuple[Path, Search]:
    """Return a set to score on, and the search for names of three words on another one."""
    known = make_masks(classes=classes).rename(tmp_path / "known")
    words = tmp_path / "words.txt"
    words.write_text("red\ngreen\nblue\n")
    return make_masks(num=2, classes=classes), Search(data=str(known), vocabulary=words)


def test_masks_of_the_truth_mend_what_one_cluster_cannot_separate(
    make_masks: Callable[..., Path], make_job: MakeJob
) -> None:
    mode = HighRes(crops=12, crop_size=16, num_clusters=1)
    found = analyze_boundaries(make_job(make_masks(), mode=mode))
    assert found.report.metrics["topline_miou"] == 1
    assert found.report.metrics["miou"] == pytest.approx(0.25)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["task"] == "analyze boundaries"
    assert content["metrics"]["topline_iou"] == {"red": 1, "green": 1, "blue": None}
    assert content["protocol"]["mode"] == "HighRes"
    assert [example["value"] for example in content["examples"]] == [0.5] * 3
    drawn = found.examples[0].draw()
    assert drawn.width == 4 * 64 + 3 * 6


def test_boundaries_have_no_other_mode(make_masks: Callable[..., Path], make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match="k-means"):
        analyze_boundaries(make_job(make_masks(), mode="window"))


def test_names_that_fit_are_found_on_one_set_and_help_on_another(
    make_masks: Callable[..., Path], make_job: MakeJob, tmp_path: Path
) -> None:
    scored, search = _two_sets(make_masks, tmp_path, "green blue\nazure\n")
    search = replace(search, method="nearest")
    found = analyze_class_names(make_job(scored), search)
    assert found.report.metrics["original_miou"] == pytest.approx(0, abs=0.1)
    assert found.report.metrics["optimised_miou"] == pytest.approx(1, abs=0.1)
    assert found.report.metrics["gain"] == pytest.approx(1, abs=0.1)
    names = [row["name"] for row in found.details["names"]]
    assert names[0] == "red"
    assert found.details["nearest"]["azure"][0][0] == "green"
    assert found.details["search"]["miou"][-1] == pytest.approx(1, abs=0.1)
    assert found.report.n == 2
    assert found.examples[0].draw().size[0] == 4 * 64 + 3 * 6
    by_hand = analyze_class_names(
        make_job(scored), replace(search, overrides={"green blue": "blue"})
    )
    assert by_hand.details["names"][0]["name"] == "blue"


def test_a_word_that_helps_becomes_a_synonym(
    make_masks: Callable[..., Path], make_job: MakeJob, tmp_path: Path
) -> None:
    scored, search = _two_sets(make_masks, tmp_path, "red\nblue\n")
    found = analyze_class_names(make_job(scored), search)
    assert [row["name"] for row in found.details["names"]][1] == "blue | green"
    gain = found.report.metrics["gain"]
    assert isinstance(gain, float)
    assert gain > 0.2
    assert found.report.protocol["method"] == "synonym"


@pytest.mark.parametrize(
    ("options", "scored", "searched"),
    [({"every": 2}, 1, 2), ({"limit": 1}, 1, 1), ({}, 2, 3)],
)
def test_both_sets_are_thinned_alike(
    make_masks: Callable[..., Path],
    make_job: MakeJob,
    tmp_path: Path,
    options: dict[str, int],
    scored: int,
    searched: int,
) -> None:
    data, search = _two_sets(make_masks, tmp_path, "red\nblue\n")
    found = analyze_class_names(make_job(data, **options), search)
    assert (found.report.n, found.details["search"]["pictures"]) == (scored, searched)


def test_names_are_not_scored_where_they_were_searched(
    make_masks: Callable[..., Path], make_job: MakeJob, tmp_path: Path
) -> None:
    data = make_masks()
    with pytest.raises(ConfigError, match="two different sets"):
        analyze_class_names(make_job(data), Search(data=str(data)))
    other = data.rename(tmp_path / "other")
    data = make_masks(classes="red\ngreen\n")
    with pytest.raises(DataError, match="different classes"):
        analyze_class_names(make_job(data), Search(data=str(other)))
    (other / "classes.txt").write_text("red\ngreen\n")
    with pytest.raises(ConfigError, match="no class 'car'"):
        analyze_class_names(make_job(data), Search(data=str(other), overrides={"car": "auto"}))


def test_a_model_with_one_embedding_says_so(
    make_masks: Callable[..., Path], make_job: MakeJob
) -> None:
    with pytest.raises(ConfigError, match="one embedding"):
        analyze_embeddings(make_job(make_masks()))


def test_the_embeddings_of_a_model_are_measured(
    make_masks: Callable[..., Path], make_job: MakeJob, tiny_model: Path
) -> None:
    job = make_job(make_masks(), mode=Whole(32))
    found = analyze_embeddings(replace(job, encoder=load(tiny_model, device="cpu")))
    measured = found.report.metrics["miou"]
    assert isinstance(measured, dict)
    assert set(measured) == {"patch", "cls_patch", "value", "value_patch", "backbone"}
    assert all(0 <= value <= 1 for value in measured.values())
    assert found.details["missing"] == {}


def test_errors_are_sorted_by_pair_meaning_and_context(
    make_masks: Callable[..., Path], make_job: MakeJob
) -> None:
    data = make_masks(classes="green\nred\nblue\n")  # so each pixel gets the other name
    found = analyze_errors(make_job(data, mode=Whole(32)), cast("Lexicon", Relations()))
    assert found.report.metrics["miou"] == 0
    assert found.report.metrics["part_whole_share"] == pytest.approx(0.5)
    assert found.report.metrics["close_second_share"] == 0
    confusion = found.details["confusion"]
    assert [(row["true"], row["predicted"]) for row in confusion] == [
        ("green", "red"),
        ("red", "green"),
    ]
    assert confusion[0]["share_of_class"] == 1
    assert confusion[0]["share_of_wrong"] == pytest.approx(0.5)
    assert found.details["part_whole"]["shares"]["part"] == pytest.approx(0.5)
    assert found.details["part_whole"]["unknown"] == ["blue"]
    leak = found.details["context_leak"][0]
    assert (leak["lift"], leak["pictures"]) == (1, 3)
    shows = [example.shows for example in found.examples]
    assert "share of pixels of green called red" in shows
    assert "share of pixels that are part-whole errors" in shows
    assert found.examples[0].draw().size[0] == 4 * 64 + 3 * 6


def test_data_sets_that_count_their_background_are_refused(
    make_masks: Callable[..., Path], make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(open_masks(data := make_masks()), background=True)
    monkeypatch.setattr("dinotxt.evaluation.analysis.study.open_masks", lambda *_, **__: found)
    with pytest.raises(ConfigError, match="background"):
        analyze_errors(make_job(data), cast("Lexicon", Relations()))


def test_a_broken_mask_is_skipped_and_nothing_left_is_an_error(
    make_masks: Callable[..., Path], make_job: MakeJob
) -> None:
    data = make_masks(num=2)
    (data / "labels" / "0.png").write_bytes(b"no picture")
    skipped: list[str] = []
    job = make_job(data, mode=Whole(32))
    job = replace(job, on_skip=lambda skip: skipped.append(skip.path))
    found = analyze_errors(job, cast("Lexicon", Relations()))
    assert found.report.n == len(skipped) == 1
    (data / "labels" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture that can be evaluated"):
        analyze_errors(job, cast("Lexicon", Relations()))
