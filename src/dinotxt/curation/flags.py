"""Captions that say little: boilerplate, too generic, or ambiguous (paper Figure 3).

Plain rules over the words of one caption, so that they need no model and no second pass.
"""

import re
from collections.abc import Iterable

BOILERPLATE, GENERIC, AMBIGUOUS = "boilerplate", "generic", "ambiguous"

_FILE_NAME = re.compile(r"^\S+\.(jpe?g|png|gif|webp|bmp|tiff?|svg)$", re.IGNORECASE)
_CAMERA_NAME = re.compile(r"^(img|dsc[nf]?|p|pict|image|photo|screenshot)[\s_-]*\d+", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://|\bwww\.", re.IGNORECASE)
_STOCK = re.compile(
    r"stock (photo|image|vector|illustration)|royalty[- ]free|all rights reserved|click (here|to)"
    r"|image result for|no (description|caption|image)|untitled|free download|add to cart"
    r"|photo (by|credit|courtesy)|shutterstock|getty ?images|thumbnail",
    re.IGNORECASE,
)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff]")  # Thai to CJK
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_TELLS_NOTHING = re.compile(
    r"(an?|the|of|in|on|at|to|for|from|with|and|or|by|is|are|was|be|th(is|at|ese|ose)|its?|my|our"
    r"|your|his|her|their|some|other|another|one|photos?|photograph|images?|pictures?|pics?|views?"
    r"|shot|scene|stuff|things?|something|gallery|slide|figure|illustration)",
    re.IGNORECASE,
)


def flag(caption: str) -> str | None:
    """Return ``boilerplate``, ``generic``, ``ambiguous`` or None for a caption.

    Boilerplate is a file name, an address or a stock phrase; generic has no word but those of any
    picture; ambiguous has a single word that says something.
    """
    text = caption.strip()
    if any(rule.search(text) for rule in (_FILE_NAME, _CAMERA_NAME, _ADDRESS, _STOCK)):
        return BOILERPLATE
    words = _WORD.findall(text)
    if _UNSPACED.search(text) or (not words and not text.isascii()):
        return None  # words cannot be told apart, or there are none to judge
    telling = [word for word in words if not _TELLS_NOTHING.fullmatch(word)]
    if not telling:
        return GENERIC
    return AMBIGUOUS if len(telling) == 1 else None


def count_flags(captions: Iterable[str]) -> dict[str, int]:
    """Return how many captions bear each flag."""
    counts = dict.fromkeys((BOILERPLATE, GENERIC, AMBIGUOUS), 0)
    for caption in captions:
        found = flag(caption)
        if found:
            counts[found] += 1
    return counts
