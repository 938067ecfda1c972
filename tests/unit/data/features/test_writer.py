import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotxt.data.features.store import StoreSpec
from dinotxt.data.features.writer import FeatureStoreWriter
from dinotxt.data.readers.record import ImageRef, Pair
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

SPEC = StoreSpec(
    tokens="pooled", width=4, num_registers=0, grid=(2, 2), weights_hash="w", transform_hash="t"
)
PAIRS = [Pair(f"k{n}", ImageRef(f"{n}.jpg"), (f"caption {n}\ud800",)) for n in range(7)]


def _writer(path: Path, **changes: Any) -> FeatureStoreWriter:
    options = {"spec": SPEC, "pairs": PAIRS, "shard_items": 3, **changes}
    return FeatureStoreWriter(path, **options)


def _features(num: int, value: float = 1.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(SPEC.shard_shape(num), value, dtype=np.float32)


def _write_all(writer: FeatureStoreWriter) -> None:
    for shard in writer.pending():
        writer.write(shard, _features(shard.stop - shard.start))


def test_killed_writer_goes_on_with_the_shards_that_are_missing(tmp_path: Path) -> None:
    first = _writer(tmp_path)
    first.write(first.pending()[1], _features(3, 5.0))
    (tmp_path / ".shard-00000.npy.abc.tmp").write_bytes(b"left by a kill")
    again = _writer(tmp_path, shard_items=100)
    assert [shard.number for shard in again.pending()] == [0, 2]
    assert not list(tmp_path.glob(".*.tmp"))
    _write_all(again)
    store = again.finish()
    assert store.tokens(range(7))["cls"][:, 0].tolist() == [1, 1, 1, 5, 5, 5, 1]
    assert _writer(tmp_path).pending() == []


@pytest.mark.parametrize("damage", ["array", "keys", "no array", "other keys"])
def test_torn_shard_is_done_again(tmp_path: Path, damage: str) -> None:
    writer = _writer(tmp_path)
    _write_all(writer)
    array, keys = tmp_path / "shard-00001.npy", tmp_path / "shard-00001.json"
    if damage == "no array":
        array.unlink()
    elif damage == "other keys":
        keys.write_text("[]")
    else:
        path = array if damage == "array" else keys
        path.write_bytes(path.read_bytes()[:-5])
    assert [shard.number for shard in _writer(tmp_path).pending()] == [1]
    with pytest.raises(DataError, match="1 shards are not written yet"):
        writer.finish()


def test_one_flipped_bit_is_told_and_the_shard_done_again(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    _write_all(writer)
    store = writer.finish()
    store.verify()
    array = tmp_path / "shard-00002.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-00002\.npy is damaged: its SHA-256"):
        store.verify()
    again = _writer(tmp_path)
    assert [shard.number for shard in again.pending()] == [2]
    _write_all(again)
    again.finish().verify()


def test_pictures_left_out_are_remembered(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    for shard in writer.pending():
        kept = [position for position in range(shard.start, shard.stop) if position not in (1, 6)]
        skipped = [Skip("1.jpg", "torn")] if shard.number == 0 else []
        writer.write(shard, _features(len(kept)), kept=kept, skipped=skipped)
    store = writer.finish()
    assert store.keys == ("k0", "k2", "k3", "k4", "k5")
    assert store.captions[0] == ("caption 0\ud800",)
    assert store.skipped == (Skip("1.jpg", "torn"),)
    assert store.tokens([4])["avg"].tolist() == [[1, 1, 1, 1]]


def test_cache_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pairs to cache"):
        _writer(tmp_path, pairs=[])
    writer = _writer(tmp_path)
    for shard in writer.pending():
        writer.write(shard, _features(0), kept=[])
    with pytest.raises(DataError, match="not one picture"):
        writer.finish()


def test_other_weights_transform_shape_or_pairs_are_refused(tmp_path: Path) -> None:
    _writer(tmp_path)
    fields = SPEC.to_json()
    for change, message in (
        ({"weights_hash": "x"}, "made with weights w, not x"),
        ({"transform_hash": "y"}, "made with transform t, not y"),
        ({"views": 2}, "holds pooled tokens"),
        ({"tokens": "all", "num_registers": 0}, "holds pooled tokens"),
    ):
        with pytest.raises(DataError, match=message):
            _writer(tmp_path, spec=StoreSpec.from_json({**fields, **change}))
    with pytest.raises(DataError, match="made of 7 other pairs, not of these 6"):
        _writer(tmp_path, pairs=PAIRS[1:])


def test_damaged_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DataError, match=r"plan\.json is damaged"):
        _writer(tmp_path)


def test_full_disk_keeps_the_shards_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = _writer(tmp_path)
    first, second, _ = writer.pending()
    writer.write(first, _features(3))

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(DataError, match=r"No space left .* 1 of 3 shards are done and kept"):
            writer.write(second, _features(3))
    again = _writer(tmp_path)
    assert [shard.number for shard in again.pending()] == [1, 2]
    _write_all(again)
    assert len(again.finish()) == 7


def test_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        _writer(tmp_path / "file" / "cache")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_values_beyond_fp16_are_refused(tmp_path: Path, value: float) -> None:
    writer = _writer(tmp_path)
    with pytest.raises(DataError, match="not finite in fp16"):
        writer.write(writer.pending()[0], _features(3, value))


def test_wrong_shape_is_refused(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    with pytest.raises(DataError, match=r"\[2, 1, 3, 4\] but must be \[3, 1, 3, 4\]"):
        writer.write(writer.pending()[0], _features(2))


def test_shards_are_sized_by_bytes_and_by_what_a_kill_may_cost(tmp_path: Path) -> None:
    big = StoreSpec.from_json({**SPEC.to_json(), "width": 1 << 22})
    assert len(_writer(tmp_path / "big", spec=big, shard_items=None).shards) == 4
    assert len(_writer(tmp_path / "small", shard_items=None).shards) == 1
    views = StoreSpec.from_json({**SPEC.to_json(), "views": 512})
    shards = _writer(tmp_path / "views", spec=views, shard_items=None).shards
    assert [shard.stop for shard in shards[:2]] == [2, 4]
