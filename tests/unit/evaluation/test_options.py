from typing import Any

import pytest

from dinotxt.errors import ConfigError
from dinotxt.evaluation.options import Options, parse_options


def test_every_and_limit_take_from_the_sorted_list() -> None:
    items = list(range(20))
    assert Options().take(items) == items
    assert Options(every=6).take(items) == [0, 6, 12, 18]
    assert Options(every=6, limit=2).take(items) == [0, 6]
    assert Options(limit=50).take(items) == items


@pytest.mark.parametrize(
    "given",
    [
        {"every": 0},
        {"limit": 0},
        {"size": -1},
        {"protocol": "mine"},
        {"protocol": "tcl", "mode": "whole"},
        {"protocol": "dinov3", "mode": "highres"},
        {"protocol": "dinov3", "stride": 10},
        {"trim_border": -1},
        {"protocol": "tcl", "size": 224},
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"give|leave"):
        parse_options(given)


def test_a_misspelt_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'template': did you mean templates"):
        parse_options({"template": "simple"})
    with pytest.raises(ConfigError, match="'xyz': there are classes, templates"):
        parse_options({"xyz": 1})
