"""Published lists that prompts, class names and CLIP's tokenizer are made of.

CLIP's templates, class names and vocabulary (openai/CLIP, as open_clip has them) and the
WordNet ids of ImageNet's classes. The tests hold them against open_clip and timm.
"""

import gzip
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def published_lines(name: str) -> tuple[str, ...]:
    """Return the lines of a file of this folder, packed or not."""
    content = (_FOLDER / name).read_bytes()
    text = gzip.decompress(content) if name.endswith(".gz") else content
    return tuple(text.decode("utf-8").splitlines())


def imagenet_ids() -> tuple[str, ...]:
    """Return the 1,000 WordNet ids such as ``n01440764``, in the order of the labels."""
    return published_lines("imagenet-ids.txt")


def imagenet_a_ids() -> tuple[str, ...]:
    """Return the ids of the 200 classes of ImageNet-A, in the order of ImageNet's labels."""
    return published_lines("imagenet-a-ids.txt")
