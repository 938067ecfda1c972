"""What is searched for, as a vector."""

from dinotxt.data.pictures import ImageSource
from dinotxt.errors import ConfigError
from dinotxt.inference.encoder import Encoder, Features


def encode_query(
    encoder: Encoder, words: str | None, image: ImageSource | None, k: int
) -> Features:
    """Return the vector of words or of a picture, ``float32 [1, E]``, of length 1.

    Raises:
        ConfigError: If not exactly one of words and image is given, or ``k`` is not positive.
        DataError: If the picture cannot be read.
    """
    if (words is None) == (image is None):
        raise ConfigError("Search either by words or by a picture.")
    if words is not None and not words.strip():
        raise ConfigError("The words to search for are empty: say what the picture shows.")
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}.")
    if words is not None:
        return encoder.encode_text([words])
    assert image is not None
    return encoder.encode_image([image])
