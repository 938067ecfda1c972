from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dinotxt.data.order.sampler import EpochSampler
from dinotxt.models.vision.tokens import Tokens
from dinotxt.results.skip import Skip
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.feed.batches import Batch, Batches
from dinotxt.training.feed.captions import CaptionTable


class Numbers:
    """A vision source whose pictures show the number of their pair; pair 3 is broken."""

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[torch.Tensor, NDArray[np.int64], tuple[Skip, ...]]:
        kept = pairs[pairs != 3]
        skipped = (Skip("3", "broken"),) if len(kept) < len(pairs) else ()
        images = torch.from_numpy(kept).float().view(-1, 1, 1, 1) + 100 * epoch
        return images, kept, skipped


def numbered(texts: Sequence[str]) -> TokenBatch:
    """Turn ``"7 b"`` into the tokens 7 and 1 (for b)."""
    ids = [[int(text.split()[0]), ord(text.split()[1]) - ord("a")] for text in texts]
    return TokenBatch(np.array(ids), np.full(len(ids), 2))


def batches(*, micro: int = 4, every: bool = False) -> Batches:
    table = CaptionTable([(f"{n} a", f"{n} b") for n in range(9)], numbered, seed=1)
    sampler = EpochSampler(9, 4, 1)
    return Batches(Numbers(), table, sampler, micro_batch_size=micro, all_captions=every)


def images(batch: Batch) -> list[float]:
    assert isinstance(batch.vision, torch.Tensor)
    return [float(value) for value in batch.vision.flatten()]


def test_pictures_and_captions_stay_together() -> None:
    for number in range(6):
        batch = batches()[number]
        assert (batch.token_ids[:, 0] == torch.tensor(images(batch)) % 100).all()
        assert len(batch) == len(batch.token_ids)


def test_a_broken_picture_takes_its_caption_with_it() -> None:
    found = [batches()[number] for number in range(2)]
    sizes = {len(batch) for batch in found if batch.skipped}
    assert sizes <= {3}
    every = [number % 100 for n in range(40) for number in images(batches()[n])]
    assert 3.0 not in every


def test_an_epoch_shows_each_pair_at_most_once_and_captions_change_between_epochs() -> None:
    made = batches()
    first = images(made[0]) + images(made[1])
    assert len(set(first)) == len(first) >= 7
    assert min(images(made[2])) >= 100
    drawn = {int(x) for n in range(20) for x in made[n].token_ids[:, 1]}
    assert drawn == {0, 1}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_micro_batches_make_up_the_batch_whoever_reads_them(num_workers: int) -> None:
    whole = list(batches().steps(1, 4, num_workers=0))
    split = list(batches(micro=3).steps(1, 4, num_workers=num_workers))
    assert [len(step) for step in split] == [2, 2, 2]
    for one, parts in zip(whole, split, strict=True):
        assert images(one[0]) == [number for part in parts for number in images(part)]
        assert torch.equal(one[0].token_ids, torch.cat([part.token_ids for part in parts]))


def test_all_captions_come_with_their_owner() -> None:
    batch = batches(every=True)[0]
    assert batch.owners is not None
    assert len(batch.token_ids) == 2 * len(batch)
    shown = torch.tensor(images(batch))[batch.owners] % 100
    assert torch.equal(shown, batch.token_ids[:, 0].float())


def test_an_error_of_a_reader_reaches_the_caller() -> None:
    made = batches()
    made.vision.read = lambda pairs, epoch: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        next(made.steps(0, 3, num_workers=0))


def test_tokens_move_with_their_batch() -> None:
    tokens = Tokens(torch.zeros(2, 4), torch.zeros(2, 0, 4), torch.zeros(2, 1, 4), (1, 1))
    batch = Batch(tokens, torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1, 3]))
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved.vision, Tokens)
    assert moved.vision.patches.is_meta
    assert moved.lengths.is_meta
    assert len(moved) == 2
