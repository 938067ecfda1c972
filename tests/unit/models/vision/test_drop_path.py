import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotxt.models.vision.drop_path import SubsetDraw, add_on_subset, random_subset


def draw(start: int, size: int, global_batch: int = 10, step: int = 3) -> SubsetDraw:
    return SubsetDraw(seed=1, step=step, global_batch=global_batch, start=start, size=size)


@pytest.mark.parametrize(("batch", "kept"), [(10, 7), (1, 1), (3, 2), (512, 358)])
def test_exactly_the_share_of_the_batch_is_kept(batch: int, kept: int) -> None:
    indices, scale = random_subset(batch, 0.3)
    assert len(indices) == len(set(indices.tolist())) == kept
    assert scale == batch / kept


@settings(max_examples=50)
@given(batch=st.integers(1, 60), cut=st.integers(0, 60), rate=st.floats(0, 0.95))
def test_chunks_hold_together_what_the_whole_batch_keeps(batch: int, cut: int, rate: float) -> None:
    cut = min(cut, batch)
    whole, scale = draw(0, batch, batch).kept(0, 1, rate)
    left, left_scale = draw(0, cut, batch).kept(0, 1, rate)
    right, _ = draw(cut, batch - cut, batch).kept(0, 1, rate)
    assert whole.tolist() == left.tolist() + [index + cut for index in right.tolist()]
    assert len(whole) == max(int((1 - rate) * batch), 1)
    assert scale == left_scale == batch / len(whole)


def test_draws_differ_between_steps_blocks_and_branches() -> None:
    kept = [
        tuple(draw(0, 64, 64, step).kept(block, branch, 0.5)[0].tolist())
        for step in (0, 1)
        for block in (0, 1)
        for branch in (0, 1)
    ]
    assert len(set(kept)) == len(kept)


def test_a_draw_is_a_function_of_its_key() -> None:
    first, _ = draw(0, 10).kept(1, 0, 0.3)
    second, _ = draw(0, 10).kept(1, 0, 0.3)
    assert torch.equal(first, second)


def test_the_branch_runs_on_the_subset_alone_and_its_output_is_scaled() -> None:
    tokens = torch.randn(4, 3, 2)
    indices = torch.LongTensor([0, 2])
    seen: list[torch.Size] = []

    def branch(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return torch.ones_like(part)

    result = add_on_subset(tokens, branch, indices, 2.0)
    assert seen == [torch.Size([2, 3, 2])]
    torch.testing.assert_close(result[[0, 2]], tokens[[0, 2]] + 2)
    assert torch.equal(result[[1, 3]], tokens[[1, 3]])


def test_an_empty_subset_leaves_the_tokens_as_they_are() -> None:
    tokens = torch.randn(2, 3, 2)
    kept = add_on_subset(tokens, torch.ones_like, torch.LongTensor([]), 2.0)
    assert torch.equal(kept, tokens)


@pytest.mark.parametrize(("num_patches", "rate"), [(16, 0.5), (9, 0.3), (1, 0.9)])
def test_a_part_of_a_batch_drops_the_patches_that_the_whole_drops(
    num_patches: int, rate: float
) -> None:
    kept = draw(0, 10).kept_patches(num_patches, rate)
    assert kept.shape == (10, max(int((1 - rate) * num_patches), 1))
    assert torch.equal(draw(4, 3).kept_patches(num_patches, rate), kept[4:7])
    assert (kept.diff(dim=1) > 0).all()
    assert num_patches == 1 or len({tuple(row) for row in kept.tolist()}) > 1
