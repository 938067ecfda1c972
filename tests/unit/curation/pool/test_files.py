import numpy as np

from dinotxt.curation.pool.files import by_key


def test_rows_come_by_their_key_in_their_own_order() -> None:
    keys, rows = np.array([7, 2, 7, 2, 9]), np.arange(10).reshape(5, 2)
    found = {key: own.tolist() for key, own in by_key(keys, rows)}
    assert list(found.items()) == [(2, [[2, 3], [6, 7]]), (7, [[0, 1], [4, 5]]), (9, [[8, 9]])]


def test_no_rows_have_no_key() -> None:
    assert list(by_key(np.empty(0, np.int32), np.empty((0, 3)))) == []
