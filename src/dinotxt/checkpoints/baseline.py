"""What is loaded for a model of another library: the same parts as a ``LoadedModel``."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import ConfigError
from dinotxt.models.baselines.groupvit import GroupVit
from dinotxt.models.baselines.openclip import OpenClip
from dinotxt.models.weights import hash_tensors
from dinotxt.text.tokenizer import TokenBatch, Tokenizer


@dataclass(frozen=True, slots=True)
class LoadedBaseline:
    """A model of another library and what belongs to it.

    Attributes:
        model: Both towers, in eval mode.
        tokenizer: Turns texts into ids.
        transform: How pictures become the model's input.
        name: What it was loaded as.
        fingerprint: SHA-256 that changes whenever features would.
        extra: Settings for inference; none.
    """

    model: OpenClip | GroupVit
    tokenizer: Tokenizer
    transform: TransformConfig
    name: str
    fingerprint: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: OpenClip | GroupVit, tokenizer: Tokenizer, transform: TransformConfig, name: str
    ) -> "LoadedBaseline":
        """Put the parts together; the fingerprint covers the weights and the transform."""
        parts = [hash_tensors(model.state_dict()), transform.fingerprint]
        fingerprint = hashlib.sha256(" ".join(parts).encode()).hexdigest()
        return cls(model.eval(), tokenizer, transform, name, fingerprint)


class ForeignTokenizer(Tokenizer):
    """A tokenizer of another library, called as it is; it pads all texts to one length.

    Args:
        tokenize: Turns texts into ids [N, L].
        context_length: L.
    """

    def __init__(self, tokenize: Any, context_length: int) -> None:
        self._tokenize = tokenize
        self.context_length = context_length
        self.pad_id = 0

    def __call__(self, texts: str | Sequence[str]) -> TokenBatch:
        """Tokenize texts."""
        ids = np.asarray(self._tokenize([texts] if isinstance(texts, str) else list(texts)))
        lengths = np.full(len(ids), ids.shape[1], dtype=np.int64)
        return TokenBatch(ids.astype(np.int64), lengths, self.pad_id)

    def save(self, path: str | Path) -> None:
        """Refuse.

        Raises:
            ConfigError: Always: only dinotxt's own models are written.
        """
        raise ConfigError(f"The tokenizer of a baseline is not written to {path}.")
