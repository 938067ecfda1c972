import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.errors import ConfigError
from dinotxt.inference.dense.pamr import Pamr, affinities, spread
from dinotxt.inference.dense.scores import GridScores

TRANSFORM = Transform(TransformConfig(size=32))


def reference(
    colours: torch.Tensor, values: torch.Tensor, dilations: tuple[int, ...], iterations: int
) -> torch.Tensor:
    """Compute the refinement by unfolding, one neighbourhood after the other."""

    def around(picture: torch.Tensor, dilation: int) -> torch.Tensor:
        padded = F.pad(picture[None], [dilation] * 4, mode="replicate")
        columns = F.unfold(padded, 3, dilation=dilation)
        return columns.reshape(len(picture), 9, *picture.shape[1:])

    places = [index for index in range(9) if index != 4]
    everything = torch.cat([around(colours, d) for d in dilations], dim=1)
    others = torch.cat([around(colours, d)[:, places] for d in dilations], dim=1)
    deviation = everything.std(dim=1, keepdim=True)
    logits = -(others - colours[:, None]).abs() / (1e-8 + 0.1 * deviation)
    weights = logits.mean(dim=0).softmax(dim=0)
    for _ in range(iterations):
        near = torch.cat([around(values, d)[:, places] for d in dilations], dim=1)
        values = (near * weights).sum(dim=1)
    return values


def test_the_refinement_equals_one_by_unfolding() -> None:
    rng = np.random.default_rng(0)
    colours = rng.random((3, 20, 26), dtype=np.float32)
    values = rng.random((4, 20, 26), dtype=np.float32)
    dilations = (1, 2, 5)
    weights = affinities(colours, dilations)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)
    actual = values
    for _ in range(3):
        actual = spread(actual, weights, dilations)
    expected = reference(torch.from_numpy(colours), torch.from_numpy(values), dilations, 3)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_a_border_of_scores_moves_to_the_border_of_colours() -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    picture[:, 33:] = 255
    scores = np.zeros((4, 6, 2), dtype=np.float32)
    scores[:, :3, 0], scores[:, 3:, 1] = 1, 1
    refined = Pamr().refine(GridScores(scores), Image.fromarray(picture), TRANSFORM)
    best = refined.values.argmax(axis=-1)
    assert refined.shape == (40, 60)
    assert (best[:, :33] == 0).mean() > 0.99
    assert (best[:, 33:] == 1).mean() > 0.99


def test_a_large_picture_is_refined_at_a_bounded_size() -> None:
    scores = GridScores(np.ones((2, 3, 11), dtype=np.float32))
    refined = Pamr(num_iterations=1, dilations=(1,), short_side=16).refine(
        scores, Image.new("RGB", (300, 200)), TRANSFORM
    )
    assert refined.shape == (16, 24)
    np.testing.assert_allclose(refined.values, 1, rtol=1e-5)


def test_mapped_channels_are_refined_by_all_of_them() -> None:
    picture = np.zeros((5, 30, 40), dtype=np.float32)
    scores = GridScores(np.ones((3, 4, 2), dtype=np.float32))
    assert Pamr(num_iterations=1).refine(scores, picture, TRANSFORM).shape == (30, 40)


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_a_tiny_picture_keeps_its_size(size: tuple[int, int]) -> None:
    scores = GridScores(np.ones((1, 1, 2), dtype=np.float32))
    assert Pamr().refine(scores, Image.new("RGB", size), TRANSFORM).shape == size[::-1]


def test_settings_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="positive"):
        Pamr(num_iterations=0)
    with pytest.raises(ConfigError, match="positive"):
        Pamr(dilations=(1, 0))
