"""The towers of a model on PyTorch."""

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinotxt.errors import BackendError, ConfigError
from dinotxt.models.baselines import GroupVit, OpenClip
from dinotxt.models.config import Embedding, TextHalf
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import TokenBatch

_PIXELS_AT_ONCE = 8 * 224**2


class TorchTowers:
    """A model in eval mode on one device; arrays go in and come out.

    Args:
        model: The model; it is moved to the device.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        fingerprint: A hash of the model's weights.

    Raises:
        BackendError: If the device is unknown or missing.
    """

    def __init__(
        self, model: DinoTxt | OpenClip | GroupVit, *, device: str = "auto", fingerprint: str
    ) -> None:
        self.device = find_device(device)
        self.fingerprint = fingerprint
        self.model = model.to(self.device).eval()
        self.embed_dim = model.embed_dim
        self.patch_size = model.patch_size
        self.logit_scale = float(model.logit_scale.detach().exp())
        self._embedding: Embedding = "patch"
        self._value_text: TextHalf = "cls"

    @property
    def patch_dim(self) -> int:
        """The width Dp of patch features."""
        return self.model.patch_dim(self._embedding)

    def with_embedding(
        self, embedding: Embedding, *, value_text: TextHalf = "cls"
    ) -> "TorchTowers":
        """Return towers on the same model whose patches have another embedding (Table 8).

        Args:
            embedding: See ``DinoTxt.encode_patches``.
            value_text: The half of the text feature that ``value`` is compared with.

        Raises:
            ConfigError: If there is no such embedding, or the model does not have it.
        """
        if embedding not in get_args(Embedding):
            names = ", ".join(get_args(Embedding))
            raise ConfigError(f"embedding is {embedding!r}: choose from {names}.")
        if value_text not in get_args(TextHalf):
            raise ConfigError(f"value_text is {value_text!r}: give cls or patch.")
        self.model.check_embedding(embedding)
        towers = copy(self)
        towers._embedding, towers._value_text = embedding, value_text
        return towers

    @torch.inference_mode()
    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, E]`` for normalised pixels ``[B, C, H, W]``."""
        return self._in_parts(self.model.encode_image, pixels)

    @torch.inference_mode()
    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, h, w, Dp]`` for normalised pixels ``[B, C, H, W]``."""
        encode = partial(self.model.encode_patches, embedding=self._embedding)
        return self._in_parts(encode, pixels)

    @torch.inference_mode()
    def encode_patches_beside(
        self, pixels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return ``encode_patches`` and the backbone's own patches, ``[B, h, w, D]``.

        Raises:
            ConfigError: If the model is a baseline.
        """
        if not isinstance(self.model, DinoTxt):
            raise ConfigError("A baseline has no frozen patches beside its own: leave refine out.")
        encode = partial(self.model.encode_patches_beside, embedding=self._embedding)
        images = self._to_tensor(pixels)
        parts = [encode(part) for part in torch.split(images, self._at_once(images))]
        patches, frozen = zip(*parts, strict=True)
        return _to_array(torch.cat(patches)), _to_array(torch.cat(frozen))

    @torch.inference_mode()
    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return ``[N, E]`` for tokenized texts."""
        ids, lengths = self._to_tensor(tokens.ids), self._to_tensor(tokens.lengths)
        return _to_array(self.model.encode_text(ids, lengths))

    @torch.inference_mode()
    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of text features ``[N, E]`` that patches compare with, ``[N, Dp]``."""
        text = self._to_tensor(text_features)
        return _to_array(self.model.dense_text(text, self._embedding, self._value_text))

    def _in_parts(
        self, encode: Callable[[Tensor], Tensor], pixels: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Encode pictures, on a CPU a few at once.

        Large activations go back to the system after each layer, and the next one waits until
        they are paged in again: more pictures at once are slower there.
        """
        images = self._to_tensor(pixels)
        parts = [encode(part) for part in torch.split(images, self._at_once(images))]
        return _to_array(parts[0] if len(parts) == 1 else torch.cat(parts))

    def _at_once(self, images: Tensor) -> int:
        if self.device.type != "cpu":
            return max(1, len(images))
        return max(1, _PIXELS_AT_ONCE // (images.shape[-2] * images.shape[-1]))

    def _to_tensor(self, array: NDArray[np.float32] | NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def find_device(name: str) -> torch.device:
    """Return a device by name; ``auto`` is the first CUDA device, or the CPU without one.

    Raises:
        BackendError: If the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdecimal()) or name == "cpu:":
        raise BackendError(f"{name!r} is no device: give auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise BackendError(f"{name} is not there ({count} CUDA devices): give auto or cpu.")
    return torch.device(name)


def _to_array(features: Tensor) -> NDArray[np.float32]:
    return np.asarray(features.float().cpu().numpy(), dtype=np.float32)
