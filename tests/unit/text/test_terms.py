"""Names of classes and of their kinds."""

from pathlib import Path

import numpy as np
import pytest

from dinotxt.errors import ConfigError
from dinotxt.text.terms import read_terms


def test_names_and_kinds_of_a_file_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cup | Mug < thing\ntree < plant | thing\nmug tree | tree < plant\n")
    terms = read_terms(file)
    assert terms.names == ("cup", "Mug", "thing", "tree", "plant", "mug tree")
    assert terms.own == ((0, 1), (3,), (5, 3))
    assert terms.kinds == ((2,), (4, 2), (4,))


def test_a_class_lies_under_its_names_and_kinds_alone(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cup | mug < thing\ntree < plant | thing\ncat\n")
    terms = read_terms(file)
    table = terms.lies_under()
    under = {
        name: set(np.flatnonzero(row).tolist())
        for name, row in zip(terms.names, table, strict=False)
    }
    assert under == {"cup": {0}, "mug": {0}, "thing": {0, 1}, "tree": {1}, "plant": {1}, "cat": {2}}
    assert table.shape == (7, 4)
    assert not table[-1].any()
    assert not table[:, -1].any()


def test_imagenet_s_dogs_lie_under_dog() -> None:
    terms = read_terms("imagenet")
    assert len(terms.own) == 1000
    table = terms.lies_under()
    row = [name.lower() for name in terms.names].index("dog")
    assert np.flatnonzero(table[row]).tolist() == list(range(151, 269))  # 118 breeds
    assert table[: len(terms.names)].any(1).all()


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cup < \n")
    with pytest.raises(ConfigError, match="empty name"):
        read_terms(file)
