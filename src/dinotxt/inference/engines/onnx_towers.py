"""The towers of an exported model on ONNX Runtime; torch is not needed."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.checkpoints.exported import ExportConfig
from dinotxt.errors import ConfigError
from dinotxt.inference.engines.sessions import Sessions
from dinotxt.text.tokenizer import TokenBatch


class OnnxTowers:
    """An exported model; a file is opened when it is first used.

    Args:
        folder: The exported model.
        config: What it says of itself.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: If the device is missing.
    """

    def __init__(self, folder: Path, config: ExportConfig, *, device: str = "auto") -> None:
        self._open = Sessions(device)
        self._folder = folder
        self._config = config
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.sizes = tuple(sorted(config.images))
        self.embed_dim = config.embed_dim
        self.patch_dim = config.patch_dim
        self.patch_size = config.patch_size
        self.logit_scale = config.logit_scale
        self.fingerprint = config.fingerprint

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, E]`` for normalised pixels ``[B, C, H, W]``.

        Raises:
            ConfigError: If no file takes pictures of this size.
        """
        return self._run_image(pixels, "image_features")

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, h, w, Dp]`` for normalised pixels ``[B, C, H, W]``; raises as above."""
        return self._run_image(pixels, "patch_features")

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return ``[N, E]`` for tokenized texts."""
        if not len(tokens):
            return np.empty((0, self.embed_dim), dtype=np.float32)
        inputs = {"token_ids": tokens.ids, "lengths": tokens.lengths}
        return self._run(self._config.text.file, inputs, "text_features")

    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of text features ``[N, E]`` that patches compare with, ``[N, Dp]``.

        Raises:
            ConfigError: If patches cannot be compared with texts.
        """
        start = self._config.dense_start
        if start is None:
            raise ConfigError("A model with `cls_projection` cannot compare patches with text.")
        return text_features[:, start : start + self.patch_dim]

    def _run_image(self, pixels: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        height, width = pixels.shape[-2:]
        if height != width or height not in self._config.images:
            sizes = ", ".join(f"{size}x{size}" for size in self.sizes)
            message = f"This exported model takes pictures of {sizes}, not {width}x{height}"
            raise ConfigError(f"{message}: export that size, too, with `--size`.")
        return self._run(self._config.images[height].file, {"pixels": pixels}, output)

    def _run(self, file: str, inputs: dict[str, Any], output: str) -> NDArray[np.float32]:
        arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        return np.asarray(self._session(file).run([output], arrays)[0], dtype=np.float32)

    def _session(self, file: str) -> Any:
        with self._lock:
            if file not in self._sessions:
                self._sessions[file] = self._open.open(self._folder / file)
            return self._sessions[file]
