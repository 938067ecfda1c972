"""Ids of pairs: of the record and the caption, not of the shard."""

from dinotxt.data.order.pair_id import pair_id, pair_ids, record_key
from dinotxt.data.readers.record import ImageRef, Pair


def test_the_id_is_a_fixed_hash() -> None:
    assert pair_id("000000001", 0) == 2643067974871498377
    assert pair_id("000000001", 1) != pair_id("000000001", 0)


def test_the_key_of_a_record_in_a_tar_is_that_of_its_member() -> None:
    one = Pair("shard-1/a/b", ImageRef("x/shard-1.tar", 512, 9, "./a/b.jpg"), ("c",))
    two = Pair("shard-7/a/b", ImageRef("y/shard-7.tar", 1024, 9, "a/b.jpg"), ("c",))
    assert record_key(one) == record_key(two) == "a/b"


def test_the_key_of_a_file_is_its_own() -> None:
    assert record_key(Pair("a/b.jpg", ImageRef("/data/a/b.jpg"), ())) == "a/b.jpg"


def test_every_caption_has_an_id() -> None:
    pair = Pair("k", ImageRef("k.jpg"), ("one", "two"))
    (ids,) = pair_ids([pair])
    assert ids.tolist() == [pair_id("k", 0), pair_id("k", 1)]
