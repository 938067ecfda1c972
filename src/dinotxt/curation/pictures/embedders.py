"""What turns pixels into the vectors of a curation: a bare backbone, or a model of ours."""

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.config import load_config
from dinotxt.curation.config import ImageConfig
from dinotxt.data.pictures import Transform, TransformConfig
from dinotxt.errors import ConfigError
from dinotxt.inference.encoder import Encoder, load, unit


class Embedder(Protocol):
    """Turns pixels into vectors."""

    @property
    def fingerprint(self) -> str:
        """A hash of the weights."""

    @property
    def transform(self) -> Transform:
        """What makes pixels of a picture."""

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, D]`` for ``[B, C, H, W]``."""


def open_embedder(settings: ImageConfig) -> Embedder:
    """Load the model that a configuration names.

    Raises:
        DinotxtError: If the model cannot be loaded; see `dinotxt.load`.
    """
    if settings.backbone is not None:
        return _BackboneEmbedder(settings)
    return _EncoderEmbedder(load(settings.model, device=settings.device), settings)


class _BackboneEmbedder:
    """The cls token of a bare backbone."""

    def __init__(self, settings: ImageConfig) -> None:
        from dinotxt.checkpoints.sources import build_backbone
        from dinotxt.inference.engines.torch_towers import find_device

        assert settings.backbone is not None
        self._device = find_device(settings.device)
        self._backbone = build_backbone(settings.backbone).to(self._device).eval()
        self.fingerprint = self._backbone.weights_hash
        own = getattr(self._backbone.module, "pretrained_cfg", None) or {}
        config = TransformConfig(size=settings.size)
        mean, std = (tuple(own.get(key, getattr(config, key))) for key in ("mean", "std"))
        self.transform = Transform(replace(config, mean=mean, std=std))

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return _cls_tokens(self._backbone, pixels, self._device)


class _EncoderEmbedder:
    """A model's backbone, or its aligned image features."""

    def __init__(self, encoder: Encoder, settings: ImageConfig) -> None:
        self._encoder = encoder
        self._aligned = settings.features == "aligned"
        if not self._aligned and not hasattr(encoder.towers, "model"):
            raise ConfigError(f"{settings.model} has no backbone apart: set features to aligned.")
        self.fingerprint = encoder.fingerprint
        self.transform = encoder.transform

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        towers: Any = self._encoder.towers
        if self._aligned:
            return unit(self._encoder.encode_pixels(pixels))
        return _cls_tokens(towers.model.backbone, pixels, towers.device)


def _cls_tokens(backbone: Any, pixels: NDArray[np.float32], device: Any) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        tokens = backbone(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
        return np.asarray(tokens.cls.float().cpu().numpy(), dtype=np.float32)


cached_embedder = lru_cache(maxsize=1)(
    lambda key: open_embedder(load_config(ImageConfig, json.loads(key)))
)
