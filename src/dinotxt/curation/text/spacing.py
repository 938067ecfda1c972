"""How captions and metadata entries are made ready for matching (MetaCLIP, Xu et al. 2024).

An entry is in a caption if the entry between spaces is in the spaced caption. The comparison
minds case; quotes, brackets, hyphens and apostrophes do not separate words.
"""

import unicodedata
from collections.abc import Callable, Sequence

from dinotxt.curation.config import Normalize

_WRAPPED = ",.;:?!`"
_BLANKED = "\t\n\r"


def spacing(text: str) -> str:
    """Put spaces round a caption and round seven marks; tabs and line ends become spaces."""
    return f" {_wrap(_blank(text))} "


def spaced_lines(texts: Sequence[str]) -> str:
    """Space many captions at once, each between spaces and joined by line ends."""
    joined = "\n".join(texts)
    if joined.count("\n") != len(texts) - 1:
        joined = "\n".join([text.replace("\n", " ") for text in texts])
    for mark in "\t\r":
        joined = joined.replace(mark, " ")
    return f" {_wrap(joined)} ".replace("\n", " \n ")


def normalizer(name: Normalize) -> Callable[[str], str] | None:
    """Return what is done to captions and entries before matching; None leaves them alone.

    Args:
        name: ``metaclip`` minds case; ``casefold`` does not, and folds compatibility forms.
    """
    return _fold if name == "casefold" else None


def is_matchable(entry: str) -> bool:
    """Tell if an entry holds a letter or a digit: an empty or bare mark would match anywhere."""
    return any(character.isalnum() for character in entry)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _wrap(text: str) -> str:
    for mark in _WRAPPED:
        if mark in text:
            text = text.replace(mark, f" {mark} ")
    return text


def _blank(text: str) -> str:
    for mark in _BLANKED:
        if mark in text:
            text = text.replace(mark, " ")
    return text
