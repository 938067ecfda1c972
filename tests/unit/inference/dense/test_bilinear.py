import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dinotxt.inference.dense.bilinear import Axis


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
