"""Prompts: a label put into the templates that a text encoder knows.

The sets are those of CLIP (80 and 7, as open_clip has them) and of TCL (its segmentation protocol:
the 7 and two plurals).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_lines
from dinotxt.text.published import published_lines

_SLOT = "{}"
_PLURALS = ("a photo of many {}.", "a photo of {}s.")


def templates(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return prompt templates, each with ``{}`` where the label goes.

    Args:
        source: ``openai-80``, ``openai-7``, ``tcl-9`` or ``simple``; a file with one template a
            line; one template such as ``"an X-ray of {}"``; or several.

    Raises:
        ConfigError: If a template has no ``{}`` or a name is not known.
    """
    if isinstance(source, str) and source in _SETS:
        return _SETS[source]()
    if isinstance(source, str | Path):
        return _checked([source] if _SLOT in str(source) else _read(Path(source)))
    return _checked(source)


def template_sets() -> tuple[str, ...]:
    """Return the names of the sets that ``templates`` knows."""
    return tuple(sorted(_SETS))


def synonyms(label: str) -> tuple[str, ...]:
    """Split a label such as ``cat | kitty`` into its names, each once.

    Raises:
        ConfigError: If the label or one of its names is empty.
    """
    names = tuple(dict.fromkeys(name.strip() for name in label.split("|")))
    if not all(names):
        raise ConfigError(f"The label {label!r} is empty or has an empty name: remove or fill it.")
    return names


def expand(labels: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Return the prompts of each label: each of its names in each template, none twice.

    Args:
        labels: Class names; ``a | b`` means two names for one class.
        templates: Templates with ``{}``.

    Raises:
        ConfigError: If there is no label or no template, or one is empty.
    """
    if not labels or isinstance(labels, str):
        raise ConfigError("There are no labels: name at least one, as a list.")
    checked = _checked(templates)
    known: dict[str, list[str]] = {}
    for label in labels:
        if label not in known:
            prompts = [t.replace(_SLOT, name) for name in synonyms(label) for t in checked]
            known[label] = list(dict.fromkeys(prompts))
    return [known[label] for label in labels]


def _checked(source: Iterable[str | Path]) -> tuple[str, ...]:
    found = tuple(str(template).strip() for template in source)
    if not found:
        raise ConfigError("There are no templates: give at least one with {}.")
    for template in found:
        if _SLOT not in template:
            raise ConfigError(f"The template {template!r} has no {{}} where the label goes.")
    return found


def _read(path: Path) -> list[str]:
    try:
        return [line for line in read_lines(path) if line]
    except DataError as error:
        raise ConfigError(
            f"{str(path)!r} is neither a set of templates ({', '.join(template_sets())}), nor a "
            f"readable file ({error.__cause__}), nor a template with {{}}."
        ) from None


_SETS: dict[str, Callable[[], tuple[str, ...]]] = {
    "openai-80": lambda: published_lines("openai-80.txt"),
    "openai-7": lambda: published_lines("openai-7.txt"),
    "tcl-9": lambda: published_lines("openai-7.txt") + _PLURALS,
    "simple": lambda: ("a photo of a {}.",),
}


def listed(texts: str | Sequence[str]) -> list[str]:
    """Return one text or several as a list.

    Raises:
        DataError: If one of them is not a string.
    """
    found = [texts] if isinstance(texts, str) else list(texts)
    for text in found:
        if not isinstance(text, str):
            raise DataError(f"{text!r} is not a text: give strings, not {type(text).__name__}.")
    return found


def check_labels(labels: Sequence[str]) -> None:
    """Refuse a bare string, an empty list, an empty label and what is no text.

    Raises:
        ConfigError: If the labels are one of the first three.
        DataError: If a label is no text.
    """
    if isinstance(labels, str):
        raise ConfigError(f"Labels must be a list, such as [{labels!r}].")
    if not labels:
        raise ConfigError("There are no labels: give at least one.")
    for label in listed(labels):
        synonyms(label)


def check_distinct(labels: Sequence[str]) -> None:
    """Refuse a label that is there twice: two areas of one name could not be told apart.

    Raises:
        ConfigError: If there is one.
    """
    for label, count in Counter(labels).items():
        if count > 1:
            raise ConfigError(f"The label {label!r} is there twice: remove one.")
