from hypothesis import given
from hypothesis import strategies as st

from dinotxt.serving.embedder import LruCache


def test_the_least_recently_used_value_makes_room() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c")) == (1, 3)


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_it_never_grows_beyond_its_size_and_keeps_the_last(keys: list[int], size: int) -> None:
    cache: LruCache[int, int] = LruCache(size)
    for key in keys:
        cache.put(key, 10 * key)
    assert len(cache) == min(size, len(set(keys)))
    if keys:
        assert cache.get(keys[-1]) == 10 * keys[-1]
