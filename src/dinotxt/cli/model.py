"""The model of a verb."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinotxt.inference.encoder import Encoder


def load_encoder(name: str, *, device: str, size: int | None = None) -> "Encoder":
    """Load a model into a process that is the verb's own: it keeps what memory it frees.

    Raises:
        DinotxtError: See ``dinotxt.load``.
    """
    from dinotxt.inference.encoder import load
    from dinotxt.inference.loading import keep_freed_memory

    keep_freed_memory()
    return load(name, device=device, size=size)
