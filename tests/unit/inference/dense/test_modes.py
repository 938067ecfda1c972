from dataclasses import replace

import pytest

from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.inference.defaults import InferenceDefaults, read_defaults
from dinotxt.inference.dense.highres import HighRes
from dinotxt.inference.dense.modes import find_mode
from dinotxt.inference.dense.window import SlidingWindow, Whole

_MODEL = InferenceDefaults(mode="window", short_side=736, window=512, stride=256)


def test_what_the_user_leaves_out_is_the_models_own() -> None:
    assert find_mode(None, _MODEL) == SlidingWindow(512, 256, 736)
    assert find_mode(None, InferenceDefaults()) == Whole()


def test_a_size_makes_windows_of_the_published_protocol() -> None:
    assert find_mode("window", _MODEL, size=448) == SlidingWindow(448, 224)
    assert find_mode("window", _MODEL, size=448, stride=112) == SlidingWindow(448, 112)
    assert find_mode("whole", _MODEL, size=448) == Whole(448)


def test_crops_are_the_budget_of_highres_alone() -> None:
    assert find_mode("highres", _MODEL) == HighRes()
    assert find_mode("highres", _MODEL, size=448, crops=50) == HighRes(crops=50, crop_size=448)
    mix = {"crop_areas": (0.25, 1.0), "crop_shares": (0.9, 0.1), "crop_clusters": None}
    own = InferenceDefaults(crop_size=320, **mix)  # type: ignore[arg-type]
    areas, shares = (0.25, 1.0), (0.9, 0.1)
    expected = HighRes(crops=50, crop_size=320, areas=areas, shares=shares, num_clusters=None)
    assert find_mode("highres", own, crops=50) == expected
    assert find_mode("highres", own) == HighRes()
    clustered = find_mode("highres", own, crops=50, clusters=64)
    assert clustered == replace(expected, num_clusters=64)
    with pytest.raises(ConfigError, match="clusters goes with the mode highres"):
        find_mode("window", own, clusters=64)
    with pytest.raises(ConfigError, match="highres"):
        find_mode("window", _MODEL, crops=50)


@pytest.mark.parametrize(("name", "stride"), [("sideways", None), ("whole", 8), ("highres", 8)])
def test_a_mode_that_makes_no_sense_is_refused(name: str, stride: int | None) -> None:
    with pytest.raises(ConfigError, match="mode"):
        find_mode(name, _MODEL, stride=stride)


def test_saved_defaults_read_back() -> None:
    assert read_defaults({"inference": {"size": 256, "max_enlarge": 5}}) == InferenceDefaults(
        size=256, max_enlarge=5.0
    )
    assert read_defaults({}) == InferenceDefaults()


def test_damaged_defaults_are_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_defaults({"inference": {"sise": 256}})
