"""Pairs that a classifier makes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dinotxt.checkpoints.sources import Classifier
from dinotxt.models.vision import Tokens
from dinotxt.text.terms import read_terms
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.config import ClassifierConfig
from dinotxt.training.feed.batches import Batch
from dinotxt.training.feed.classifier import ClassifierPairs, RealFeatures, moved

WIDTH, CLASSES = 12, 5


class Cached:
    """Cached tokens of one pooled patch a picture, another one each epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self.features = torch.from_numpy(np.random.default_rng(seed).random((count, WIDTH))).float()

    def read(self, pairs: np.ndarray, epoch: int) -> tuple[Tokens, np.ndarray, tuple[()]]:
        rows = self.features[torch.from_numpy(pairs)] + epoch / 100
        return Tokens(rows, rows[:, None][:, :0], rows[:, None], (1, 1)), pairs, ()


class Words:
    """A tokenizer whose ids are the places of texts in a list."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        self.texts += texts
        numbers = np.arange(len(self.texts) - len(texts), len(self.texts))
        return TokenBatch(numbers[:, None], np.ones(len(numbers), dtype=np.int64))


@pytest.fixture
def words() -> Words:
    return Words()


def pairs(tmp_path: Path, words: Words, *, count: int = 200, **settings: object) -> ClassifierPairs:
    names = tmp_path / "names.txt"
    names.write_text("cup | mug < thing\ntree < plant | thing\ndog < animal\ncat\nsea\n")
    random = np.random.default_rng(7)
    classifier = Classifier(
        torch.from_numpy(random.normal(size=(CLASSES, WIDTH))).float(),
        torch.from_numpy(random.normal(size=CLASSES)).float(),
    )
    sources = [Cached(30, 1), Cached(11, 2)]
    return ClassifierPairs(
        ClassifierConfig(**{"clip": False, **settings}),  # type: ignore[arg-type]
        classifier,
        read_terms(names),
        RealFeatures(sources, [30, 11]),
        words,
        count=count,
        seed=3,
    )


def features(batch: Batch) -> np.ndarray:
    assert isinstance(batch.vision, Tokens)
    assert torch.equal(batch.vision.cls, batch.vision.patches[:, 0])
    found: np.ndarray = batch.vision.cls.double().numpy()
    return found


def classes_and_terms(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    assert batch.made is not None
    made = batch.made.numpy()
    return made[:, 0], made[:, 1]


def test_a_feature_moves_just_so_far_that_its_class_leads_by_the_margin() -> None:
    random = np.random.default_rng(0)
    weight = 3 * np.eye(6, 9) + 0.2 * random.normal(size=(6, 9))
    start = random.normal(size=(40, 9))
    bias, directions = random.normal(size=6), weight - weight.mean(0)
    classes = random.integers(6, size=40)
    start[0] = start[0] + 100 * directions[classes[0]]  # it leads by far
    tensors = [torch.from_numpy(x) for x in (start, classes, weight, bias, directions)]
    ends = moved(*tensors, margin=8.0).numpy()
    for row, (begin, end, number) in enumerate(zip(start, ends, classes, strict=True)):
        logits = weight @ end + bias
        lead = logits[number] - np.delete(logits, number).max()
        before = weight @ begin + bias
        if before[number] - np.delete(before, number).max() > 8:
            np.testing.assert_allclose(end, begin)
        else:
            assert row > 0
            assert lead == pytest.approx(8, abs=1e-6)
            step = (end - begin) / directions[number]
            np.testing.assert_allclose(step, step[0], rtol=1e-6)


def test_made_features_move_along_the_covariance_times_the_weights(
    tmp_path: Path, words: Words
) -> None:
    made = pairs(tmp_path, words, shrinkage=0.05)
    real = np.concatenate([one.features.numpy() for one in made.real.sources]).astype(np.float64)  # type: ignore[attr-defined]
    covariance = np.cov(real.T, bias=True)
    shrunk = 0.95 * covariance + 0.05 * np.diag(covariance).mean() * np.eye(WIDTH)
    weight = np.random.default_rng(7).normal(size=(CLASSES, WIDTH)).astype(np.float32)
    expected = shrunk @ (weight - weight.mean(0)).T
    batch = made.read(2, slice(None))
    classes, _ = classes_and_terms(batch)
    assert set(classes) == set(range(CLASSES))
    for feature, number in zip(features(batch), classes, strict=True):
        offsets = feature - (real + 2 / 100)
        cosines = offsets @ expected[:, number]
        cosines /= np.linalg.norm(offsets, axis=1) * np.linalg.norm(expected[:, number])
        assert cosines.max() > 0.9999  # from one of the real ones, in its epoch's view


def test_captions_name_the_class_or_a_kind_that_it_belongs_to(tmp_path: Path, words: Words) -> None:
    made = pairs(tmp_path, words, own_share=0.5)
    batch = made.read(0, slice(None))
    classes, terms = classes_and_terms(batch)
    table = made.terms.lies_under()
    assert table[terms, classes].all()
    texts = [words.texts[number] for number in batch.token_ids[:, 0].tolist()]
    names = [made.terms.names[term] for term in terms]
    forms = {text.replace(name, "{}") for text, name in zip(texts, names, strict=True)}
    assert forms == {"{}", "a photo of a {}."}
    cups = [name for name, number in zip(names, classes, strict=True) if number == 0]
    assert set(cups) == {"cup", "mug", "thing"}
    assert cups.count("cup") > cups.count("mug")  # half of its own names are the first
    alone = pairs(tmp_path, words, own_share=1.0)
    _, terms = classes_and_terms(alone.read(0, slice(None)))
    assert {alone.terms.names[term] for term in terms} == {
        "cup",
        "mug",
        "tree",
        "dog",
        "cat",
        "sea",
    }


def test_a_pair_depends_on_its_place_alone(tmp_path: Path, words: Words) -> None:
    whole = pairs(tmp_path, words).read(5, slice(None))
    again = pairs(tmp_path, Words())
    part = again.read(5, np.array([3, 50, 199]))
    rows = [3, 50, 199]
    np.testing.assert_array_equal(features(part), features(whole)[rows])
    assert whole.made is not None
    assert part.made is not None
    assert torch.equal(part.made, whole.made[rows])
    assert again.names(5)[50] == again.terms.names[int(part.made[1, 1])]
    other = again.read(6, np.array([3, 50, 199]))
    assert not np.array_equal(features(other), features(part))


def test_features_after_a_relu_stay_positive(tmp_path: Path, words: Words) -> None:
    made = pairs(tmp_path, words, clip=True)
    assert features(made.read(0, slice(None))).min() == 0
    assert features(pairs(tmp_path, words).read(0, slice(None))).min() < 0


def test_another_name_is_another_fingerprint(tmp_path: Path, words: Words) -> None:
    first = pairs(tmp_path, words)
    (tmp_path / "other").mkdir()
    second = pairs(tmp_path / "other", words)
    assert first.fingerprint == second.fingerprint
    second.terms = read_terms(_file(tmp_path, "cup\ntree\ndog\ncat\nlake\n"))
    assert first.fingerprint != second.fingerprint


def _file(folder: Path, text: str) -> Path:
    path = folder / "others.txt"
    path.write_text(text)
    return path
