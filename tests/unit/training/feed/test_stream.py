import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.data.pictures.view import RandomView, ViewConfig
from dinotxt.data.streaming.cache import ShardCache
from dinotxt.data.streaming.index import ShardIndex, index_shards
from dinotxt.data.streaming.order import StreamSampler
from dinotxt.data.streaming.reader import ShardReader
from dinotxt.data.streaming.remote import Remote
from dinotxt.errors import ConfigError
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.feed.batches import Batch
from dinotxt.training.feed.stream import StreamBatches

MakeShards = Callable[..., list[str]]
PLAIN = Transform(TransformConfig(size=8, resize="squash", mean=(0, 0, 0), std=(1, 1, 1)))


def numbered(texts: Sequence[str]) -> TokenBatch:
    """Turn ``"17 b"`` into the tokens 17 and 1 (for b)."""
    ids = [[int(text.split()[0]), ord(text.split()[1]) - ord("a")] for text in texts]
    return TokenBatch(np.array(ids), np.full(len(ids), 2))


def batches(shards: list[str], folder: Path, *, micro: int = 8, **options: object) -> StreamBatches:
    """Batches of 8 over shards whose samples are grey by their number."""
    cache = ShardCache(folder / "copies", max_bytes=1 << 30, remote=Remote(retries=0))
    index = index_shards(shards, cache, lambda skip: None)
    sampler = StreamSampler(index.counts, 8, 1, lanes=2, window=2)
    reader = ShardReader(index, cache, num_open=8)
    return StreamBatches(
        reader,
        sampler,
        PLAIN,
        numbered,
        seed=1,
        micro_batch_size=micro,
        **options,  # type: ignore[arg-type]
    )


def numbers(batch: Batch) -> list[int]:
    assert isinstance(batch.vision, torch.Tensor)
    return [round(float(picture[0, 0, 0]) * 255) for picture in batch.vision]


@pytest.fixture
def shards(write_shards: MakeShards, tmp_path: Path) -> list[str]:
    """Four shards of 12 samples each."""
    return write_shards(tmp_path / "d", num_shards=4, num_samples=12)


def test_pictures_and_captions_stay_together(shards: list[str], tmp_path: Path) -> None:
    made = batches(shards, tmp_path)
    for number in range(12):
        batch = made[number]
        assert numbers(batch) == batch.token_ids[:, 0].tolist()
    drawn = {int(letter) for n in range(12) for letter in made[n].token_ids[:, 1]}
    assert drawn == {0, 1}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_micro_batches_of_any_reader_make_up_the_batch(
    shards: list[str], tmp_path: Path, num_workers: int
) -> None:
    view = RandomView(ViewConfig(), PLAIN)
    whole = list(batches(shards, tmp_path, view=view).steps(2, 5, num_workers=0))
    split = batches(shards, tmp_path, micro=3, view=view).steps(2, 5, num_workers=num_workers)
    for one, parts in zip(whole, split, strict=True):
        joined = [part.vision for part in parts if isinstance(part.vision, torch.Tensor)]
        assert torch.equal(torch.as_tensor(one[0].vision), torch.cat(joined))
        assert torch.equal(one[0].token_ids, torch.cat([part.token_ids for part in parts]))


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_processes_take_equal_parts_of_the_same_batch(
    shards: list[str], tmp_path: Path, num_ranks: int
) -> None:
    whole = batches(shards, tmp_path)
    ranks = [batches(shards, tmp_path, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    for step in range(4):
        parts = [made[step] for made in ranks]
        assert {len(part) for part in parts} == {8 // num_ranks}
        assert numbers(whole[step]) == [one for part in parts for one in numbers(part)]


def test_processes_that_do_not_divide_the_batch_are_refused(
    shards: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="multiple of 3"):
        batches(shards, tmp_path, num_ranks=3)


def test_all_captions_come_with_their_owner(shards: list[str], tmp_path: Path) -> None:
    batch = batches(shards, tmp_path, all_captions=True)[0]
    assert batch.owners is not None
    assert len(batch.token_ids) == 2 * len(batch)
    shown = torch.tensor(numbers(batch))[batch.owners]
    assert torch.equal(shown, batch.token_ids[:, 0])


def test_a_broken_sample_is_named_and_nothing_takes_its_place(
    write_shards: MakeShards, tmp_path: Path
) -> None:
    sound = write_shards(tmp_path / "d", num_shards=4, num_samples=12)
    broken = write_shards(tmp_path / "e", num_shards=4, num_samples=12, broken={(1, 5)})
    for step in range(6):
        one, other = batches(sound, tmp_path)[step], batches(broken, tmp_path)[step]
        expected = [number for number in numbers(one) if number != 17]
        assert numbers(other) == expected
        assert len(other.skipped) == len(one) - len(other)
    skips = [skip for step in range(6) for skip in batches(broken, tmp_path)[step].skipped]
    assert {skip.path for skip in skips} <= {f"{broken[1]}::k0005"}
    assert len(skips) == 1
    assert "is not a picture" in skips[0].reason


def test_a_shard_with_fewer_samples_than_stated_gives_named_skips(
    shards: list[str], tmp_path: Path
) -> None:
    folder = Path(shards[0]).parent
    (folder / "sizes.json").write_text(json.dumps({Path(shard).name: 16 for shard in shards}))
    made = batches(shards, tmp_path)
    skips = [skip for step in range(8) for skip in made[step].skipped]
    assert len(skips) == 16
    assert {skip.reason for skip in skips} == {"the shard has 12 of 16 samples"}
    assert all(int(skip.path.rpartition("#")[2]) >= 12 for skip in skips)


@pytest.mark.parametrize("all_captions", [False, True])
def test_a_batch_without_one_sound_sample_is_empty_and_has_a_stand_in(
    write_shards: MakeShards, tmp_path: Path, all_captions: bool
) -> None:
    every = {(shard, row) for shard in range(2) for row in range(8)}
    broken = write_shards(tmp_path / "d", num_shards=2, num_samples=8, broken=every)
    batch = batches(broken, tmp_path, all_captions=all_captions)[0]
    assert (len(batch), len(batch.token_ids), len(batch.skipped)) == (0, 0, 8)
    stand_in = batch.stand_in()
    assert torch.as_tensor(stand_in.vision).shape == (1, 3, 8, 8)
    assert stand_in.lengths.tolist() == [1]
    assert (stand_in.owners is None) == (not all_captions)


def test_a_share_is_of_the_samples_seen_but_of_a_thousand_at_least(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, max_bytes=1, remote=Remote())
    reader = ShardReader(ShardIndex(("a.tar",), (5000,)), cache, num_open=1)
    sampler = StreamSampler([5000], 8, 1, lanes=1, window=1)
    made = StreamBatches(reader, sampler, PLAIN, numbered, seed=1, micro_batch_size=8)
    assert [made.num_expected(step) for step in (0, 199, 10**6)] == [1000, 1600, 5000]


def test_a_step_names_its_samples(shards: list[str], tmp_path: Path) -> None:
    made = batches(shards, tmp_path)
    places = [divmod(number, 12) for number in made.order.indices(3).tolist()]
    assert made.names(3) == [f"{shards[shard]}::k{row:04d}" for shard, row in places]


def test_grey_pictures_keep_their_number() -> None:
    assert float(PLAIN(Image.new("RGB", (8, 8), (17, 17, 17)))[0, 0, 0]) == pytest.approx(17 / 255)
