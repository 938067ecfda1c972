"""Captions that say little: boilerplate, too generic, or ambiguous (paper Figure 3).

Plain rules over the words of one caption, so that they need no model and no second pass.
"""

import re
from itertools import islice

BOILERPLATE, GENERIC, AMBIGUOUS = "boilerplate", "generic", "ambiguous"

_BOILERPLATE_TEXT = re.compile(
    r"^\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)$"  # the name of a file
    r"|^(?:img|dsc[nf]?|p|pict|image|photo|screenshot)[\s_-]*\d+"  # the name that a camera gives
    r"|https?://|\bwww\."
    r"|stock (?:photo|image|vector|illustration)|royalty[- ]free|all rights reserved"
    r"|click (?:here|to)|image result for|no (?:description|caption|image)|untitled"
    r"|free download|add to cart|photo (?:by|credit|courtesy)|shutterstock|getty ?images|thumbnail"
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
    text = caption.strip().lower()
    if _BOILERPLATE_TEXT.search(text):
        return BOILERPLATE
    if not text.isascii() and (_UNSPACED.search(text) or not _WORD.search(text)):
        return None  # words cannot be told apart, or there are none to judge
    telling = (word for word in _WORD.findall(text) if not _TELLS_NOTHING.fullmatch(word))
    count = sum(1 for _ in islice(telling, 2))
    return (GENERIC, AMBIGUOUS, None)[count]
