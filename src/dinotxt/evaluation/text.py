"""The text encoder as such (dino.txt, section 4.5): MTEB's kinds of tasks over local tables.

A table is a TSV (with a header) or JSONL file whose name begins with its task, such as
``similarity-captions.tsv``:

- ``similarity``: ``sentence1``, ``sentence2``, ``score``; Spearman's correlation with the cosine.
- ``pair_classification``: ``sentence1``, ``sentence2``, ``label`` (0 or 1); average precision.
- ``clustering``: ``text``, ``label``, one row a text or (JSONL) one a set of lists; V-measure.
- ``reranking``: ``query``, ``text``, ``label``, or (JSONL) ``query``, ``positive``, ``negative``;
  mean average precision.
- ``classification``: ``text``, ``label``, ``split`` (``train`` or ``test``); accuracy of a
  logistic regression on eight texts a label, the mean of ten draws.

These are the measures, samples and settings of MTEB (``mteb`` 2.26: ``abstasks``); its own column
names are taken, too. ``dinotxt.evaluation.mteb`` hands a model to the package itself.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError, import_extra
from dinotxt.inference.encoder import Encoder
from dinotxt.results.report import Interval, Report

Row = Mapping[str, Any]
Scores = NDArray[np.float64]
_COLUMNS = {
    "sentence1": ("sentence1", "sent1"),
    "sentence2": ("sentence2", "sent2"),
    "score": ("score", "similarity_score"),
    "label": ("label", "labels"),
    "text": ("text", "sentence", "sentences"),
    "query": ("query",),
    "positive": ("positive",),
    "negative": ("negative",),
    "split": ("split",),
}
_PER_LABEL = 8
_DRAWS = 10
_RESAMPLES = 200


def evaluate_text(encoder: Encoder, data: str | Path) -> Report:
    """Measure the text encoder on every table of a folder, or on one.

    Args:
        encoder: The model; a text's feature is the whole vector, of length 1.
        data: A TSV or JSONL file, or a folder of them.

    Returns:
        A metric a task (the mean over its tables) with its 95% interval over rows, queries, sets
        or draws, where the task has one table.

    Raises:
        DataError: If there is no table, or one lacks a column or has a value that makes no sense.
        BackendError: If scikit-learn is missing (extra ``mteb``).
    """
    import_extra("sklearn", extra="mteb")
    found: dict[str, list[Scores]] = {}
    tables = _tables(Path(data))
    n = 0
    for path, task in tables:
        rows = list(_rows(path))
        n += len(rows)
        try:
            scores = TASKS[task](encoder, rows)
        except (KeyError, TypeError, ValueError) as error:
            columns = next(line for line in (__doc__ or "").split("\n- ") if f"``{task}``" in line)
            told = " ".join(columns.split())
            raise DataError(f"{path}: {_said(error)}; a table of {told}") from error
        found.setdefault(task, []).append(scores)
    return Report(
        task="text",
        model=encoder.name,
        data=str(data),
        n=n,
        metrics={task: float(np.mean([s[0] for s in found[task]])) for task in sorted(found)},
        ci={task: _interval(found[task][0]) for task in sorted(found) if len(found[task]) == 1},
        protocol={"feature": "whole", "tables": [path.name for path, _ in tables]},
    )


def _said(error: Exception) -> str:
    return f"there is no column {error}" if isinstance(error, KeyError) else str(error)


def _interval(scores: Scores) -> Interval:
    low, high = np.nanpercentile(scores[1:], [2.5, 97.5])
    return float(low), float(high)


def _tables(data: Path) -> list[tuple[Path, str]]:
    if not data.exists():
        raise DataError(f"{data} is missing.")
    paths = [data] if data.is_file() else sorted(data.iterdir())
    wanted = [path for path in paths if path.suffix in {".tsv", ".jsonl"}]
    named = [(path, task) for path in wanted for task in TASKS if path.name.startswith(task)]
    if not named:
        names = ", ".join(f"{task}*.tsv" for task in TASKS)
        raise DataError(f"{data} has no table of a task: name it {names} (or .jsonl).")
    return named


def _rows(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix == ".tsv":
            yield from csv.DictReader(text.splitlines(), delimiter="\t", strict=True)
        else:
            yield from (json.loads(line) for line in text.splitlines() if line.strip())
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    """Return a column's values by one of its names; a missing one is a KeyError of the first."""
    for known in _COLUMNS[name]:
        if rows and known in rows[0]:
            return [row[known] for row in rows]
    raise KeyError(name)


def _resampled(n: int, measure: Callable[[NDArray[np.int64]], float]) -> Scores:
    """Return a measure over all ``n`` rows, then over samples of them with replacement.

    A sample that leaves nothing to measure (one value, no positive) is NaN.
    """
    rng = np.random.default_rng(0)
    samples = (rng.integers(n, size=n) for _ in range(_RESAMPLES))
    return np.array([measure(np.arange(n)), *(measure(sample) for sample in samples)])


def _mean_of(values: Sequence[float]) -> Scores:
    column = np.array(values)
    return _resampled(len(column), lambda rows: float(column[rows].mean()))


def _cosines(encoder: Encoder, rows: Sequence[Row]) -> NDArray[np.float32]:
    first = encoder.encode_text([str(text) for text in _column(rows, "sentence1")])
    second = encoder.encode_text([str(text) for text in _column(rows, "sentence2")])
    cosines: NDArray[np.float32] = (first * second).sum(axis=1)
    return cosines


def _similarity(encoder: Encoder, rows: Sequence[Row]) -> Scores:
    from scipy.stats import spearmanr

    wanted = np.array([float(score) for score in _column(rows, "score")])
    given = _cosines(encoder, rows)

    def correlation(rows: NDArray[np.int64]) -> float:
        constant = np.ptp(wanted[rows]) == 0 or np.ptp(given[rows]) == 0
        return float("nan") if constant else float(spearmanr(given[rows], wanted[rows]).statistic)

    return _resampled(len(wanted), correlation)


def _pair_classification(encoder: Encoder, rows: Sequence[Row]) -> Scores:
    from sklearn.metrics import average_precision_score

    truth = np.array([_truth(label) for label in _column(rows, "label")])
    given = _cosines(encoder, rows)

    def precision(rows: NDArray[np.int64]) -> float:
        some = truth[rows].any()
        return float(average_precision_score(truth[rows], given[rows])) if some else float("nan")

    return _resampled(len(truth), precision)


def _truth(label: Any) -> int:
    number = float(label)
    if number not in {0, 1}:
        raise ValueError(f"a label is {label!r}, not 0 or 1")
    return int(number)


def _clustering(encoder: Encoder, rows: Sequence[Row]) -> Scores:
    texts, labels = _column(rows, "text"), _column(rows, "label")
    sets = list(zip(texts, labels, strict=True)) if isinstance(texts[0], list) else []
    found = sets or [(texts, labels)] * _DRAWS
    return _mean_of([_v_measure(encoder, *part, seed) for seed, part in enumerate(found)])


def _v_measure(encoder: Encoder, texts: list[str], labels: list[Any], seed: int) -> float:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import v_measure_score

    names = [str(label) for label in labels]
    model = MiniBatchKMeans(len(set(names)), batch_size=512, n_init="auto", random_state=seed)
    return float(v_measure_score(names, model.fit_predict(encoder.encode_text(texts))))


def _reranking(encoder: Encoder, rows: Sequence[Row]) -> Scores:
    from sklearn.metrics import average_precision_score

    precisions = []
    for query, candidates in _queries(rows).items():
        features = encoder.encode_text([query, *(text for text, _ in candidates)])
        truth = [label for _, label in candidates]
        if 0 < sum(truth) < len(truth):
            precisions.append(float(average_precision_score(truth, features[1:] @ features[0])))
    if not precisions:
        raise ValueError("no query has texts of both labels")
    return _mean_of(precisions)


def _queries(rows: Sequence[Row]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    queries = [str(query) for query in _column(rows, "query")]
    if rows and "positive" in rows[0]:
        lists = zip(queries, _column(rows, "positive"), _column(rows, "negative"), strict=True)
        for query, positive, negative in lists:
            candidates = [(text, 1) for text in positive] + [(text, 0) for text in negative]
            found.setdefault(query, []).extend(candidates)
        return found
    for query, text, label in zip(
        queries, _column(rows, "text"), _column(rows, "label"), strict=True
    ):
        found.setdefault(query, []).append((str(text), _truth(label)))
    return found


def _classification(encoder: Encoder, rows: Sequence[Row]) -> Scores:
    from sklearn.linear_model import LogisticRegression

    features = encoder.encode_text([str(text) for text in _column(rows, "text")])
    labels = np.array([str(label) for label in _column(rows, "label")])
    splits = np.array(_column(rows, "split"))
    test = splits == "test"
    if not test.any() or not (splits == "train").any():
        raise ValueError("split has no train or no test")
    accuracies = []
    for draw in range(_DRAWS):
        chosen = _few_a_label(labels, splits == "train", np.random.default_rng(draw))
        model = LogisticRegression(max_iter=100).fit(features[chosen], labels[chosen])
        accuracies.append(float(model.score(features[test], labels[test])))
    return _mean_of(accuracies)


def _few_a_label(
    labels: NDArray[np.str_], allowed: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    drawn = [
        rng.permutation(np.flatnonzero(allowed & (labels == label)))[:_PER_LABEL]
        for label in np.unique(labels[allowed])
    ]
    return np.concatenate(drawn)


TASKS: dict[str, Callable[[Encoder, Sequence[Row]], Scores]] = {
    "similarity": _similarity,
    "pair_classification": _pair_classification,
    "clustering": _clustering,
    "reranking": _reranking,
    "classification": _classification,
}
