import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dinotxt.data.features.store import FeatureStore, StoreSpec, plan_bytes
from dinotxt.data.features.writer import FeatureStoreWriter
from dinotxt.data.readers.record import ImageRef, Pair
from dinotxt.errors import DataError

NUM = 11


def _spec(**changes: Any) -> StoreSpec:
    fields: dict[str, Any] = {
        "tokens": "all",
        "width": 4,
        "num_registers": 2,
        "grid": (2, 3),
        "views": 2,
        "weights_hash": "w" * 8,
        "transform_hash": "t" * 8,
        "info": {"backbone": "tiny"},
    }
    return StoreSpec(**{**fields, **changes})


def _write(path: Path, spec: StoreSpec) -> NDArray[np.float16]:
    pairs = [Pair(f"k{n}", ImageRef(f"{n}.jpg"), (f"caption {n}", "two")) for n in range(NUM)]
    features = np.random.default_rng(0).normal(size=spec.shard_shape(NUM)).astype(np.float16)
    writer = FeatureStoreWriter(path, spec, pairs, shard_items=4)
    for shard in writer.pending():
        writer.write(shard, features[shard.start : shard.stop])
    writer.finish()
    return features


def test_all_tokens_come_back_as_they_went_in(tmp_path: Path) -> None:
    features = _write(tmp_path, _spec())
    store = FeatureStore.open(tmp_path)
    assert len(store) == NUM
    assert (store.keys[10], store.captions[10]) == ("k10", ("caption 10", "two"))
    found = store.tokens([10, 0, 4, 0], [1, 0, 1, 1])
    expected = features[[10, 0, 4, 0], [1, 0, 1, 1]].astype(np.float32)
    assert {name: array.shape for name, array in found.items()} == {
        "cls": (4, 4),
        "registers": (4, 2, 4),
        "patches": (4, 6, 4),
    }
    assert found["cls"].dtype == np.float32
    np.testing.assert_array_equal(found["cls"], expected[:, 0])
    np.testing.assert_array_equal(found["registers"], expected[:, 1:3])
    np.testing.assert_array_equal(found["patches"], expected[:, 3:])


def test_pooled_tokens_have_three_names(tmp_path: Path) -> None:
    features = _write(tmp_path, _spec(tokens="pooled"))
    found = FeatureStore.open(tmp_path).tokens(5, 1, dtype=np.float16)
    assert list(found) == ["cls", "avg", "max"]
    assert found["max"].dtype == np.float16
    np.testing.assert_array_equal(found["max"], features[[5], 1, 2])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(indices=st.lists(st.integers(0, NUM - 1), max_size=20), view=st.integers(0, 1))
def test_any_order_and_repetition_is_answered(
    tmp_path: Path, indices: list[int], view: int
) -> None:
    path = tmp_path / "store"
    if not path.exists():
        _write(path, _spec())
    store = FeatureStore.open(path)
    features = np.concatenate([np.load(file) for file in sorted(path.glob("*.npy"))])
    np.testing.assert_array_equal(store.tokens(indices, view)["cls"], features[indices, view, 0])


@pytest.mark.parametrize(("index", "view"), [(NUM, 0), (-1, 0), (0, 2), (0, -1)])
def test_missing_item_or_view_is_an_index_error(tmp_path: Path, index: int, view: int) -> None:
    _write(tmp_path, _spec())
    with pytest.raises(IndexError, match="there is no"):
        FeatureStore.open(tmp_path).tokens([index], view)


def test_size_is_known_before_the_start(tmp_path: Path) -> None:
    spec = _spec()
    _write(tmp_path, spec)
    stored = sum(path.stat().st_size - 128 for path in tmp_path.glob("*.npy"))
    assert plan_bytes(spec, NUM) == stored == 2 * NUM * 2 * 9 * 4


def test_other_weights_and_transforms_are_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path, _spec())
    store = FeatureStore.open(tmp_path)
    store.check(weights_hash="w" * 8, transform_hash="t" * 8)
    with pytest.raises(DataError, match=r"made with weights wwwwwwww, not other: cache"):
        store.check(weights_hash="other", transform_hash="t" * 8)
    with pytest.raises(DataError, match=r"weights w+, not a and transform t+, not b"):
        store.check(weights_hash="a", transform_hash="b")


def test_store_survives_pickling_and_is_read_by_other_processes(tmp_path: Path) -> None:
    features = _write(tmp_path, _spec())
    store = FeatureStore.open(tmp_path)
    store.tokens([0])
    assert len(pickle.dumps(store)) < 1000
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        found = pool.apply(store.tokens, ([3, 7],))
    np.testing.assert_array_equal(found["cls"], features[[3, 7], 0, 0].astype(np.float32))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts maps as Linux does")
def test_shards_beyond_the_limit_of_open_files_are_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinotxt.data.features.store._MAX_MAPPED", 2)
    features = _write(tmp_path, _spec())
    store = FeatureStore.open(tmp_path)
    for _ in range(2):
        np.testing.assert_array_equal(store.tokens(range(NUM))["cls"], features[:, 0, 0])
    mapped = Path("/proc/self/maps").read_text().count(str(tmp_path))
    assert mapped <= 2


def test_spec_survives_json() -> None:
    spec = _spec()
    assert StoreSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_folder_that_is_no_finished_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no feature cache"):
        FeatureStore.open(tmp_path)
    _write(tmp_path, _spec())
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(DataError, match="is not finished"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize("content", ["[]", '{"format": "other"}', "{", '{"format": "%s"}'])
def test_damaged_manifest_is_refused(tmp_path: Path, content: str) -> None:
    _write(tmp_path, _spec())
    (tmp_path / "manifest.json").write_text(content.replace("%s", "dinotxt-features-1"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        FeatureStore.open(tmp_path)


def test_torn_or_missing_shard_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, _spec())
    path = tmp_path / "shard-00001.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"shard-00001\.npy is missing or torn"):
        FeatureStore.open(tmp_path)


def test_keys_that_do_not_fit_a_shard_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, _spec())
    (tmp_path / "shard-00001.json").write_text('{"records": [], "skipped": []}')
    with pytest.raises(DataError, match="shard 1 does not fit"):
        _ = FeatureStore.open(tmp_path).keys
