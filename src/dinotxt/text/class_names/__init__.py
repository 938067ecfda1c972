"""Lists of class names: ImageNet's, as open_clip has them, or a file with one a line."""

from pathlib import Path

from dinotxt.errors import ConfigError
from dinotxt.text.open_clip_files import zero_shot_metadata


def class_names(source: str | Path) -> tuple[str, ...]:
    """Return class names in the order of their labels.

    Args:
        source: ``imagenet``, or a file with one name a line (``a | b`` for synonyms).

    Raises:
        ConfigError: If the name is not known, or the file is unreadable, empty or has an empty
            line, which would shift the labels after it.
    """
    if source == "imagenet":
        return tuple(zero_shot_metadata().IMAGENET_CLASSNAMES)
    path = Path(source)
    try:
        lines = path.read_text("utf-8-sig").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(source)!r} is neither imagenet nor a readable file of class names ({error})."
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ConfigError(f"{path}:{number} is empty: give each class a line.")
    if not lines:
        raise ConfigError(f"{path} is empty: give each class a line.")
    return tuple(line.strip() for line in lines)
