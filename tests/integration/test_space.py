"""The Gradio page with a stand-in for Gradio: what it hands to the library and back."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

_APP = Path(__file__).parents[2] / "space" / "app.py"


class GradioError(Exception):
    """Stands for ``gradio.Error``."""


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> ModuleType:
    parts = ("AnnotatedImage", "Image", "Interface", "Label", "Radio", "Textbox")
    stand_in = SimpleNamespace(Error=GradioError, **dict.fromkeys(parts, SimpleNamespace))
    stand_in.Interface = stand_in.Textbox = stand_in.Radio = lambda *_, **__: None
    monkeypatch.setitem(sys.modules, "gradio", stand_in)
    monkeypatch.setenv("DINOTXT_MODEL", str(tiny_model))
    spec = importlib.util.spec_from_file_location("space_app", _APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mode", ["Whole picture (fast)", "Windows (finer)"])
def test_a_picture_and_words_give_masks_and_probabilities(space: Any, mode: str) -> None:
    image = Image.new("RGB", (48, 40), "red")
    (shown, masks), probabilities = space.predict(image, "cat, dog, cat", mode)
    assert shown is image
    assert [label for _, label in masks] == ["cat", "dog"]
    assert sum(mask for mask, _ in masks).sum() == 48 * 40 / 2  # half transparent
    assert sum(probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize(("image", "words"), [(None, "cat"), (Image.new("RGB", (8, 8)), " , ")])
def test_nothing_to_do_is_an_error_in_words(space: Any, image: Any, words: str) -> None:
    with pytest.raises(GradioError, match="at least one label"):
        space.predict(image, words, "Whole picture (fast)")
