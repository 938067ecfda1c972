"""The names of WordNet's synsets, from its data files or from the list that ships.

MetaCLIP takes the name that NLTK gives a synset, cut at its first full stop: the first word of
the synset in lower case.
"""

import gzip
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from dinotxt.errors import DataError

_PARTS = ("noun", "verb", "adj", "adv")
_FIRST_WORD = 4  # lex_filenum, ss_type and w_cnt stand between the offset and the word
_INSTANCE = " @i "  # the pointer from a person, a place or a work to what it is one of
_NOUN_MARK = "\tn"


def wordnet_names(folder: Path | None = None) -> list[str]:
    """Return the names of all synsets, sorted.

    Args:
        folder: Holds ``data.noun`` and the like, such as Debian's ``/usr/share/wordnet``; None
            takes the list of WordNet 3.0 that ships.

    Raises:
        DataError: If the folder lacks the files.
    """
    if folder is None:
        return [line.removesuffix(_NOUN_MARK) for line in _shipped()]
    names = {name for part in _PARTS for name, _ in _names(folder, part)}
    return sorted(names - {""})


def wordnet_nouns(folder: Path | None = None) -> list[str]:
    """Return the names of nouns that stand for kinds of things, sorted.

    Single persons, places and works are left out.

    Args:
        folder: As for ``wordnet_names``.

    Raises:
        DataError: If the folder lacks the files.
    """
    if folder is None:
        return [line.removesuffix(_NOUN_MARK) for line in _shipped() if line.endswith(_NOUN_MARK)]
    return sorted({name for name, kind in _names(folder, "noun") if kind} - {""})


def _shipped() -> list[str]:
    packed = resources.files("dinotxt.text.wordnet").joinpath("names.txt.gz")
    return gzip.decompress(packed.read_bytes()).decode().splitlines()


def _names(folder: Path, part: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each synset of a part of speech, and whether it is a kind of things."""
    try:
        with (folder / f"data.{part}").open(encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith(" "):  # the licence stands in lines that start with a space
                    word = line.split(" ", _FIRST_WORD + 1)[_FIRST_WORD].partition("(")[0]
                    name = word.split(".")[0].replace("_", " ").strip().lower()
                    yield name, _INSTANCE not in line.partition("|")[0]
    except OSError as error:
        message = f"{folder} has no WordNet data files ({error}): install `wordnet-base`."
        raise DataError(message) from None
