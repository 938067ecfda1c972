"""Batches of several sources."""

import numpy as np
import pytest
import torch

from dinotxt.data.order import EpochSampler
from dinotxt.errors import ConfigError
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.feed.batches import Batches, MixedBatches, divide
from dinotxt.training.feed.captions import CaptionTable


class Numbered:
    """Pictures that show their number, beginning with ``first``."""

    def __init__(self, first: int) -> None:
        self.first = first

    def read(self, pairs: np.ndarray, epoch: int) -> tuple[torch.Tensor, np.ndarray, tuple[()]]:
        del epoch
        return torch.from_numpy(pairs + self.first).float().view(-1, 1, 1, 1), pairs, ()


def _one_token(texts: object) -> TokenBatch:
    numbers = [[int(text)] for text in texts]  # type: ignore[attr-defined]
    return TokenBatch(np.array(numbers).reshape(-1, 1), np.ones(len(numbers), dtype=np.int64))


def source(first: int, num_items: int, count: int) -> Batches:
    captions = [(str(first + number),) for number in range(num_items)]
    return Batches(
        Numbered(first),
        CaptionTable(captions, _one_token, seed=0),
        EpochSampler(num_items, count, 1),
        keys=[f"k{first + number}" for number in range(num_items)],
    )


def mixed(**options: int) -> MixedBatches:
    return MixedBatches([source(0, 30, 5), source(100, 12, 2), source(200, 7, 1)], **options)


def numbers(batches: MixedBatches, step: int) -> list[list[int]]:
    """The pictures of each micro-batch of a step; each has its own caption."""
    found = []
    for chunk in range(batches.chunks):
        batch = batches[step * batches.chunks + chunk]
        assert isinstance(batch.vision, torch.Tensor)
        shown = batch.vision.flatten().int().tolist()
        assert batch.token_ids.flatten().tolist() == shown
        assert batch.made is not None
        assert (batch.made == -1).all()
        found.append(shown)
    return found


def test_every_batch_holds_the_same_number_of_each_source() -> None:
    batches = mixed()
    seen = [numbers(batches, step)[0] for step in range(12)]
    counts = [[sum(low <= n < low + 100 for n in one) for low in (0, 100, 200)] for one in seen]
    assert counts == [[5, 2, 1]] * 12
    assert sorted(n for one in seen[:6] for n in one if n < 100) == list(range(30))
    assert sorted(n for one in seen[6:] for n in one if 100 <= n < 200) == list(range(100, 112))


def test_processes_and_micro_batches_divide_a_batch_and_each_gets_its_share() -> None:
    whole = numbers(mixed(), 3)[0]
    parts = [numbers(mixed(micro_batch_size=2, rank=rank, num_ranks=2), 3) for rank in (0, 1)]
    flat = [n for part in parts for chunk in part for n in chunk]
    assert sorted(flat) == sorted(whole)
    assert [len(chunk) for part in parts for chunk in part] == [2, 2, 2, 2]
    assert [sum(n < 100 for chunk in part for n in chunk) for part in parts] in ([2, 3], [3, 2])


def test_the_names_of_a_step_are_those_of_its_pairs() -> None:
    batches = mixed()
    assert sorted(batches.names(4)) == sorted(f"k{n}" for n in numbers(batches, 4)[0])
    assert batches.num_items == 49
    assert batches.num_expected(0) == 49


@pytest.mark.parametrize(
    ("size", "weights", "counts"),
    [(512, (0.35, 0.3), [276, 236]), (8, (1, 1, 1), [3, 3, 2]), (7, (1e-9, 6, 1), None)],
)
def test_a_batch_is_divided_by_weights_to_the_last_pair(
    size: int, weights: tuple[float, ...], counts: list[int] | None
) -> None:
    if counts is None:
        with pytest.raises(ConfigError, match="nothing of it"):
            divide(size, weights)
    else:
        assert divide(size, weights) == counts
