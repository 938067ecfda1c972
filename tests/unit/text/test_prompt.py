from pathlib import Path

import pytest

from dinotxt.errors import ConfigError
from dinotxt.text.prompt import check_distinct, expand, synonyms, template_sets, templates


@pytest.mark.parametrize(
    ("name", "count"), [("openai-80", 80), ("openai-7", 7), ("simple", 1), ("tcl-9", 9)]
)
def test_named_sets_have_their_sizes_and_slots(name: str, count: int) -> None:
    found = templates(name)
    assert len(set(found)) == count
    assert all(template.count("{}") == 1 for template in found)
    assert name in template_sets()


def test_openai_templates_equal_open_clips() -> None:
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    assert templates("openai-80") == tuple(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES)


def test_templates_come_from_a_text_a_list_or_a_file(tmp_path: Path) -> None:
    assert templates("an X-ray of {}") == ("an X-ray of {}",)
    assert templates(["a {}", "b {}"]) == ("a {}", "b {}")
    (tmp_path / "mine.txt").write_text("a {} here\n\nthe {}\n")
    assert templates(tmp_path / "mine.txt") == ("a {} here", "the {}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["an X-ray"], "has no {}"),
        ([], "no templates"),
        ("openai-81", "neither a set of templates"),
        ("", "neither a set of templates"),
    ],
)
def test_bad_templates_are_refused(source: str | list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        templates(source)


def test_file_with_a_template_without_slot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("a photo\n")
    with pytest.raises(ConfigError, match="has no"):
        templates(tmp_path / "bad.txt")


def test_expand_puts_every_synonym_into_every_template() -> None:
    prompts = expand(["cat | kitty", "{} dog"], ["a {}.", "the {}"])
    assert prompts == [["a cat.", "the cat", "a kitty.", "the kitty"], ["a {} dog.", "the {} dog"]]


@pytest.mark.parametrize("label", ["", "  ", "a |", "|", "a || b"])
def test_empty_label_or_synonym_is_refused(label: str) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        expand([label], ["a {}"])
    with pytest.raises(ConfigError, match="is empty"):
        synonyms(label)


def test_no_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="no labels"):
        expand([], ["a {}"])
    with pytest.raises(ConfigError, match="no labels"):
        expand("cat", ["a {}"])


def test_repeated_labels_are_named() -> None:
    check_distinct(["red", "green"])
    with pytest.raises(ConfigError, match="'red' is there twice"):
        check_distinct(["green", "red", "blue", "red"])


def test_ten_thousand_labels_expand_and_share_their_prompts() -> None:
    labels = [f"thing {number % 9_000}" for number in range(10_000)]
    prompts = expand(labels, ["a {}.", "the {}"])
    assert len(prompts) == 10_000
    assert len({id(own) for own in prompts}) == 9_000
    assert prompts[9_000] == ["a thing 0.", "the thing 0"]
