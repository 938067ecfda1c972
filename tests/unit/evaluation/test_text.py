"""Tasks of MTEB over local tables, held against values worked out by hand and against sklearn."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.evaluation.text import evaluate_text
from dinotxt.inference.encoder import Encoder

Write = Callable[[str, Sequence[Mapping[str, Any]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    folder = tmp_path / "tables"
    folder.mkdir()

    def table(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        path = folder / name
        if name.endswith(".jsonl"):
            lines = [json.dumps(row) for row in rows]
        else:
            lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
        return path

    return table


def _pair(first: str, second: str, **rest: Any) -> dict[str, Any]:
    return {"sentence1": first, "sentence2": second, **rest}


def test_similarity_is_spearmans_correlation_of_the_cosines(
    colour_encoder: Encoder, write: Write
) -> None:
    # cosines: 1, 1/sqrt(2), 0; ranks 3, 2, 1 against 3, 1, 2: rho = 1 - 6 * 2 / (3 * 8) = 0.5
    rows = [
        _pair("red", "red", score=5),
        _pair("red", "red green", score=1),
        _pair("red", "green", score=2),
    ]
    report = evaluate_text(colour_encoder, write("similarity.tsv", rows))
    assert report.metrics == {"similarity": pytest.approx(0.5)}
    low, high = report.ci["similarity"]
    assert -1 <= low <= high <= 1


def test_pairs_are_ranked_by_cosine(colour_encoder: Encoder, write: Write) -> None:
    # by cosine: 1 (label 1), 0.707 (label 0), 0 (label 1): AP = (1/1 + 2/3) / 2
    rows = [
        {"sent1": "red", "sent2": "red", "labels": 1},
        {"sent1": "red", "sent2": "red green", "labels": 0},
        {"sent1": "red", "sent2": "green", "labels": 1},
    ]
    report = evaluate_text(colour_encoder, write("pair_classification-x.tsv", rows))
    assert report.metrics == {"pair_classification": pytest.approx((1 + 2 / 3) / 2)}


@pytest.mark.parametrize("form", ["lists", "rows"])
def test_reranking_is_the_mean_average_precision_of_the_queries(
    colour_encoder: Encoder, write: Write, form: str
) -> None:
    # red: [red green 1, green 0] -> 1; blue: [blue 0, blue green 1] -> 1/2
    lists = [
        {"query": "red", "positive": ["red green"], "negative": ["green"]},
        {"query": "blue", "positive": ["blue green"], "negative": ["blue"]},
    ]
    rows = [
        {"query": query["query"], "text": text, "label": label}
        for query in lists
        for kind, label in (("positive", 1), ("negative", 0))
        for text in query[kind]
    ]
    path = write("reranking.jsonl", lists) if form == "lists" else write("reranking.tsv", rows)
    assert evaluate_text(colour_encoder, path).metrics["reranking"] == pytest.approx(0.75)


def test_clusters_of_different_colours_are_found_and_of_the_same_are_not(
    colour_encoder: Encoder, write: Write
) -> None:
    texts = ["red", "green", "blue"] * 4
    report = evaluate_text(
        colour_encoder,
        write("clustering.tsv", [{"text": text, "label": text[0]} for text in texts]),
    )
    assert report.metrics["clustering"] == pytest.approx(1)
    sets = [{"sentences": ["red", "red", "green", "green"], "labels": ["a", "b", "a", "b"]}]
    mixed = evaluate_text(colour_encoder, write("clustering-sets.jsonl", sets))
    assert mixed.metrics["clustering"] == pytest.approx(0, abs=1e-9)


def test_classification_learns_from_train_and_is_scored_on_test(
    colour_encoder: Encoder, write: Write
) -> None:
    rows = [{"text": colour, "label": colour, "split": "train"} for colour in ("red", "blue") * 10]
    rows += [{"text": "red", "label": "red", "split": "test"}] * 3
    rows += [{"text": "blue", "label": "red", "split": "test"}]
    report = evaluate_text(colour_encoder, write("classification.tsv", rows))
    assert report.metrics["classification"] == pytest.approx(0.75)


def test_a_folder_has_a_figure_a_task_and_the_mean_of_its_tables(
    colour_encoder: Encoder, write: Write
) -> None:
    good = [_pair("red", "red", label=1), _pair("red", "green", label=0)]
    bad = [_pair("red", "red", label=0), _pair("red", "green", label=1)]
    write("pair_classification-a.tsv", good)
    write("similarity.jsonl", [_pair("red", "red", score=1), _pair("red", "blue", score=0)])
    folder = write("pair_classification-b.tsv", bad).parent
    report = evaluate_text(colour_encoder, folder)
    assert report.metrics == {"pair_classification": 0.75, "similarity": pytest.approx(1)}
    assert set(report.ci) == {"similarity"}
    assert report.n == 6


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("similarity.tsv", [{"sentence1": "a", "score": 1}], "no column 'sentence2'"),
        ("similarity.tsv", [_pair("a", "b", score="high")], "'high'"),
        ("pair_classification.tsv", [_pair("a", "b", label=3)], "not 0 or 1"),
        ("reranking.tsv", [{"query": "a", "text": "b", "label": 1}], "both labels"),
        ("classification.tsv", [{"text": "a", "label": 1, "split": "x"}], "no train or no test"),
        ("other.tsv", [{"text": "a"}], "similarity"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    colour_encoder: Encoder, write: Write, name: str, rows: Any, message: str
) -> None:
    path = write(name, rows)
    with pytest.raises(DataError, match=message) as raised:
        evaluate_text(colour_encoder, path)
    assert name in str(raised.value)


def test_a_model_is_measured_by_the_mteb_package(
    colour_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mteb 2.26: the task is made here, so nothing is fetched."""
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))
    mteb = pytest.importorskip("mteb")
    datasets = pytest.importorskip("datasets")
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    from dinotxt.evaluation.mteb import MtebEncoder

    class Colours(AbsTaskSTS):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="Colours",
            dataset={"path": "none", "revision": "1"},
            description="Colours.",
            type="STS",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
        )
        min_score, max_score = 0, 5

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            rows = {
                "sentence1": ["red", "red", "red"],
                "sentence2": ["red", "red green", "green"],
                "score": [5.0, 1.0, 2.0],
            }
            self.dataset = {"test": datasets.Dataset.from_dict(rows)}
            self.data_loaded = True

    result = mteb.evaluate(MtebEncoder(colour_encoder), Colours(), cache=None, co2_tracker=False)
    scores = result.task_results[0].scores["test"][0]
    assert scores["cosine_spearman"] == pytest.approx(0.5)
    assert np.isfinite(scores["main_score"])
