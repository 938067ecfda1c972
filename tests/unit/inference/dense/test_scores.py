import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dinotxt.inference.dense.scores import (
    Axis,
    GridScores,
    Upsample,
    WindowScores,
    label_rows,
    tile_rows,
)
from dinotxt.inference.inputs import windows


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True))


def _enlarge(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("upsample", ["logits", "features"])
def test_windows_are_enlarged_and_averaged_as_in_the_reference(upsample: Upsample) -> None:
    places = windows(50, 30, 24, 16)
    features, text = _random(len(places), 3, 3, 5), _unit(_random(4, 5))
    total, visits = torch.zeros(4, 30, 50), torch.zeros(30, 50)
    for place, patches in zip(places, features, strict=True):
        size = (place.height, place.width)
        if upsample == "logits":
            scores = torch.from_numpy(_unit(patches) @ text.T).permute(2, 0, 1)
            scores = _enlarge(scores[None], size)[0]
        else:
            large = _enlarge(torch.from_numpy(patches).permute(2, 0, 1)[None], size)
            large = F.normalize(large, dim=1)[0]
            scores = torch.einsum("dhw,cd->chw", large, torch.from_numpy(text))
        rows = slice(place.top, place.top + place.height)
        columns = slice(place.left, place.left + place.width)
        total[:, rows, columns] += scores
        visits[rows, columns] += 1
    result = WindowScores((30, 50), places, features, text, upsample)
    expected = (total / visits).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(result.rows(0, 30), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(result.rows(7, 19), result.rows(0, 30)[7:19])
    assert result.num_texts == 4


@pytest.mark.parametrize("size", [(45, 60), (3, 4), (8, 11)])
def test_labels_are_the_argmax_of_the_enlarged_scores(size: tuple[int, int]) -> None:
    values = _random(8, 11, 5)
    height, width = size
    large = _enlarge(torch.from_numpy(values).permute(2, 0, 1)[None], size)[0, :4]
    parts = [
        label_rows(GridScores(values), 4, height, width, start, min(start + 4, height))
        for start in range(0, height, 4)
    ]
    labels = np.concatenate([part[0] for part in parts])
    best = np.concatenate([part[1] for part in parts])
    assert (labels == large.argmax(dim=0).numpy()).mean() > 0.999
    np.testing.assert_allclose(best, large.max(dim=0).values.numpy(), rtol=1e-4, atol=1e-5)


def test_the_first_of_equal_labels_wins() -> None:
    labels, _ = label_rows(GridScores(np.ones((2, 2, 3), dtype=np.float32)), 3, 4, 4, 0, 4)
    assert labels.max() == 0


def test_tiles_stay_within_their_budget() -> None:
    scores = GridScores(np.zeros((448, 600, 50), dtype=np.float32))
    rows = tile_rows(scores, 4500, 6000)
    assert 1 <= rows < 4500
    source_rows = rows * 448 / 4500 + 2
    assert source_rows * 600 * 50 <= 1 << 23
    huge = GridScores(np.zeros((4, 1 << 12, 1 << 12), dtype=np.float32))
    assert tile_rows(huge, 100, 100) == 1


@pytest.mark.parametrize(("num_in", "num_out"), [(4, 9), (9, 4), (1, 5), (5, 5), (3, 48)])
def test_interpolation_equals_torch(num_in: int, num_out: int) -> None:
    values = np.random.default_rng(0).random((num_in, 3)).astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(values.T[None]), size=num_out, mode="linear", align_corners=False
    )[0].numpy()
    result = Axis.between(num_in, num_out).apply(values, axis=0)
    np.testing.assert_allclose(result.T, expected, rtol=1e-5, atol=1e-6)


def test_a_part_needs_only_its_span_of_the_input() -> None:
    values = np.random.default_rng(0).random((7, 2)).astype(np.float32)
    axis = Axis.between(7, 20)
    low, high = axis.span(5, 11)
    part = axis.part(5, 11).apply(values[low:high], axis=0)
    np.testing.assert_array_equal(part, axis.apply(values, axis=0)[5:11])
    assert high - low < 5
