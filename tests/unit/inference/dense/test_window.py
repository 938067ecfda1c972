import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotxt.errors import ConfigError
from dinotxt.inference.dense.highres import HighRes
from dinotxt.inference.dense.scores import Mode, Query
from dinotxt.inference.dense.window import SlidingWindow, Whole
from dinotxt.inference.encoder import Encoder


def test_windows_of_one_picture_run_in_batches(colour_encoder: Encoder, colour_towers: Any) -> None:
    picture = Image.new("RGB", (96, 32))
    text = np.eye(3, dtype=np.float32)
    mode = SlidingWindow(32, 16)
    scores = mode.score_map(Query(colour_encoder, text, batch_size=2), picture)
    assert scores.shape == (32, 96)
    assert colour_towers.batches == [(2, 3, 32, 32), (2, 3, 32, 32), (1, 3, 32, 32)]
    assert mode.passes(picture) == 5


def test_windows_that_the_patch_does_not_divide_are_stretched(
    colour_encoder: Encoder, colour_towers: Any
) -> None:
    query = Query(colour_encoder, np.eye(3, dtype=np.float32))
    SlidingWindow(30, 15).score_map(query, Image.new("RGB", (60, 30)))
    assert colour_towers.batches == [(3, 3, 32, 32)]


def test_whole_gives_the_grid_or_the_pixels(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    picture, text = Image.open(pictures["half"]), np.eye(3, dtype=np.float32)
    grid = Whole(40).score_map(Query(colour_encoder, text), picture)
    pixels = Whole(40).score_map(Query(colour_encoder, text, "features"), picture)
    assert grid.shape == (5, 6)
    assert pixels.shape == (40, 48)


@pytest.mark.parametrize(("size", "stride"), [(32, 0), (32, 33), (0, 0)])
def test_windows_with_gaps_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ConfigError, match="gaps"):
        SlidingWindow(size, stride)


@pytest.mark.parametrize(
    "mode", [Whole(32), SlidingWindow(32, 16), HighRes(crops=12, crop_size=16, grid_stride=4)]
)
def test_dense_features_lie_where_the_picture_has_them(colour_encoder: Encoder, mode: Mode) -> None:
    picture = Image.new("RGB", (64, 32), "red")
    picture.paste("lime", (32, 0, 64, 32))
    query = Query(colour_encoder, np.eye(3, dtype=np.float32))
    features = mode.features(query, picture, stride=4)
    assert features.shape == (8, 16, 3)
    assert features[:, 0] == pytest.approx(np.tile([1, 0, 0], (8, 1)), abs=0.02)
    assert features[:, -1] == pytest.approx(np.tile([0, 1, 0], (8, 1)), abs=0.02)


@pytest.mark.parametrize(
    ("mode", "passes"),
    [
        (Whole(), 1),
        (Whole(64), 1),
        (SlidingWindow(32, 16), 5),
        (SlidingWindow(32, 32, short_side=64), 12),
        (HighRes(crops=7, crop_size=16), 7),
    ],
)
def test_modes_say_how_many_inputs_the_model_will_see(
    colour_encoder: Encoder, mode: Mode, passes: int
) -> None:
    picture, seen = Image.new("RGB", (96, 32)), list[int]()
    query = Query(colour_encoder, np.eye(3, dtype=np.float32), batch_size=2, on_pass=seen.append)
    mode.score_map(query, picture)
    assert mode.passes(picture) == sum(seen) == passes
    assert max(seen) <= 2


def test_modes_say_what_a_report_needs(colour_encoder: Encoder) -> None:
    encoder = replace(
        colour_encoder, defaults=replace(colour_encoder.defaults, short_side=736, brightness=0.4)
    )
    assert Whole().settings(encoder) == {"mode": "Whole", "size": 736, "brightness": 0.4}
    assert Whole(448).settings(encoder)["size"] == 448
    assert SlidingWindow(32, 16).settings(encoder) == {
        "mode": "SlidingWindow",
        "size": 32,
        "stride": 16,
        "short_side": None,
        "brightness": 0.4,
    }
    found = HighRes(crops=50).settings(encoder)
    assert (found["mode"], found["crops"], found["num_clusters"]) == ("HighRes", 50, 32)
    assert found["visits"] == round(HighRes(crops=50).visits, 2) > 1
    assert json.loads(json.dumps(found))["areas"] == [0.01, 0.1, 1.0]
