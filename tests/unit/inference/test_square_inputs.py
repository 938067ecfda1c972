"""Models that take squares of some sizes alone, as exported ones do."""

from dataclasses import replace

import pytest
from PIL import Image
from tests.conftest import ColourTowers

from dinotxt.inference.defaults import InferenceDefaults
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.inputs import whole_input, window_input
from dinotxt.inference.segmenter import Segmenter, SlidingWindow
from dinotxt.text import prompt


class SquareColourTowers(ColourTowers):
    sizes = (16, 32)


@pytest.fixture
def encoder(colour_encoder: Encoder) -> Encoder:
    """Red, green and blue for squares of 16 and 32 pixels."""
    towers = SquareColourTowers()
    return Encoder(towers, colour_encoder.tokenizer, colour_encoder.transform, "squares")


def test_whole_pictures_and_windows_become_the_nearest_square() -> None:
    picture = Image.new("RGB", (100, 50))
    assert whole_input(SquareColourTowers(), picture, 20) == (16, 16)
    assert whole_input(SquareColourTowers(), picture, 90) == (32, 32)
    assert window_input(SquareColourTowers(), 40, 8) == (32, 32)
    assert whole_input(ColourTowers(), picture, 20) == (40, 16)
    assert window_input(ColourTowers(), 41, 9) == (40, 8)


@pytest.mark.parametrize("mode", [None, SlidingWindow(32, 16), SlidingWindow(20, 10)])
def test_segments_keep_their_places(encoder: Encoder, mode: SlidingWindow | None) -> None:
    picture = Image.new("RGB", (64, 40), "red")
    picture.paste("blue", (32, 0, 64, 40))
    found = Segmenter(encoder, ["red", "blue"], mode=mode, templates="{}")(picture)
    assert found.label_map.shape == (40, 64)
    assert found.mask("red")[:, :24].all()
    assert found.mask("blue")[:, 40:].all()
    towers = encoder.towers
    assert isinstance(towers, SquareColourTowers)
    assert {shape[2:] for shape in towers.batches} <= {(16, 16), (32, 32)}


def test_a_models_own_templates_go_before_those_of_the_same_name() -> None:
    own = InferenceDefaults(templates="mine", template_sets={"mine": ("an X-ray of {}",)})
    assert own.find_templates(None) == ("an X-ray of {}",)
    assert own.find_templates("simple") == prompt.templates("simple")
    shadowed = replace(own, template_sets={"simple": ("{}",)})
    assert shadowed.find_templates("simple") == ("{}",)
    assert shadowed.find_templates(["a {}"]) == ("a {}",)
