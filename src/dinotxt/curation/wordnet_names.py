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


def wordnet_names(folder: Path | None = None) -> list[str]:
    """Return the names, sorted.

    Args:
        folder: Holds ``data.noun`` and the like, such as Debian's ``/usr/share/wordnet``; None
            takes the list of WordNet 3.0 that ships.

    Raises:
        DataError: If the folder lacks the files.
    """
    if folder is None:
        packed = resources.files("dinotxt.curation").joinpath("wordnet", "names.txt.gz")
        return gzip.decompress(packed.read_bytes()).decode().splitlines()
    try:
        names = {name for part in _PARTS for name in _names(folder / f"data.{part}")}
    except OSError as error:
        message = f"{folder} has no WordNet data files ({error}): install `wordnet-base`."
        raise DataError(message) from None
    return sorted(names - {""})


def _names(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith(" "):  # the licence stands in lines that start with a space
                word = line.split(" ", _FIRST_WORD + 1)[_FIRST_WORD].partition("(")[0]
                yield word.split(".")[0].replace("_", " ").strip().lower()
