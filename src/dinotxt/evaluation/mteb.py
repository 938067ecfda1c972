"""Our models inside the ``mteb`` package: ``mteb.evaluate(MtebEncoder(dinotxt.load()), tasks)``.

After the protocol of ``mteb`` 2.26 (``mteb.models.models_protocols.EncoderProtocol``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import import_extra
from dinotxt.inference.encoder import Encoder


class MtebEncoder:
    """A model's text encoder behind MTEB's interface.

    Args:
        encoder: The model.

    Raises:
        BackendError: If mteb is not installed.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._models = import_extra("mteb.models", extra="mteb")
        self._cosines = import_extra("mteb.similarity_functions", extra="mteb")

    def encode(self, inputs: Any, **settings: Any) -> NDArray[np.float32]:
        """Return features ``[N, E]`` of length 1 of batches ``{"text": [...]}``."""
        return self._encoder.encode_text([text for batch in inputs for text in batch["text"]])

    def similarity(self, first: Any, second: Any) -> Any:
        """Return cosines ``[N, M]`` of features ``[N, E]`` and ``[M, E]``."""
        return self._cosines.cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """Return cosines ``[N]`` of features ``[N, E]`` and ``[N, E]``."""
        return self._cosines.pairwise_cos_sim(first, second)

    @property
    def mteb_model_meta(self) -> Any:
        """What MTEB's results call the model."""
        name, revision = f"dinotxt/{self._encoder.name}", self._encoder.fingerprint
        known = {"name": name, "revision": revision, "embed_dim": self._encoder.embed_dim}
        return self._models.ModelMeta.create_empty(known)
