"""The towers of a model like `lite` on ONNX Runtime, without torch and without exported files."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.checkpoints.folder import FolderConfig, verified
from dinotxt.checkpoints.tensors import TensorFile
from dinotxt.checkpoints.wheels import read_backbone, shipped_file
from dinotxt.inference.engines.sessions import Sessions
from dinotxt.inference.graphs import Graph, image_graph, patch_dim, patch_graph, text_graph
from dinotxt.text.tokenizer import TokenBatch

_PATCH_SIZE = 32  # of EfficientNet-Lite
_PIXELS_AT_ONCE = 288**2
_MARGIN = 96  # pixels around a place that decide nearly all of its features


class GraphTowers:
    """A model folder whose graphs are written from its configuration when they are first used.

    Writing one and opening it takes a tenth of a second, so nothing is kept on the disk.

    Args:
        folder: The model folder.
        config: What it says of itself, which ``graphs.is_supported`` accepts.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BackendError: If the device or a package is missing.
        CheckpointError: If a file is missing or damaged.
    """

    def __init__(self, folder: Path, config: FolderConfig, *, device: str = "auto") -> None:
        self._open = Sessions(device)
        self._config = config
        self._head = TensorFile(verified(folder, config.weights.file, config.weights.sha256))
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.patch_size = _PATCH_SIZE
        self.patch_dim = patch_dim(self._head)
        self.embed_dim = self.patch_dim + self._cls_dim()
        self.logit_scale = float(np.exp(self._head["logit_scale"].astype(np.float32)))
        self.fingerprint = config.fingerprint
        self.margin = _MARGIN

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, E]`` for normalised pixels ``[B, C, H, W]``."""
        return self._run_images(pixels, "image", ["image_features"])[0]

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, h, w, Dp]`` for normalised pixels ``[B, C, H, W]``."""
        return self._run_images(pixels, "patches", ["patch_features"])[0]

    def encode_patches_beside(
        self, pixels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the patches, and the frozen backbone's own ``[B, h, w, D]``."""
        patches, frozen = self._run_images(pixels, "patches", ["patch_features", "frozen"])
        return patches, frozen

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return ``[N, E]`` for tokenized texts; those of one length run together, unpadded."""
        out = np.empty((len(tokens), self.embed_dim), dtype=np.float32)
        for length in np.unique(tokens.lengths):
            rows = np.flatnonzero(tokens.lengths == length)
            ids = np.ascontiguousarray(tokens.ids[rows, :length])
            out[rows] = self._session("text").run(None, {"token_ids": ids})[0]
        return out

    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of text features ``[N, E]`` that patches compare with, ``[N, Dp]``."""
        return text_features[:, self.embed_dim - self.patch_dim :]

    def _run_images(
        self, pixels: NDArray[np.float32], name: str, outputs: list[str]
    ) -> list[NDArray[np.float32]]:
        """Encode pictures a few at once: more are slower, since their maps leave the cache."""
        session = self._session(name)
        step = max(1, _PIXELS_AT_ONCE // (pixels.shape[-2] * pixels.shape[-1]))
        parts = (pixels[start : start + step] for start in range(0, len(pixels), step))
        found = [session.run(outputs, {"pixels": np.ascontiguousarray(part)}) for part in parts]
        return [np.concatenate(arrays) for arrays in zip(*found, strict=True)]

    def _session(self, name: str) -> Any:
        with self._lock:
            if name not in self._sessions:
                graph = self._graph(name)
                self._sessions[name] = self._open.open(graph.to_bytes(), graph.weights)
            return self._sessions[name]

    def _graph(self, name: str) -> Graph:
        if name == "text":
            encoder = TensorFile(shipped_file("all-minilm-l6-v2"))
            return text_graph(self._config.model, self._head, encoder)
        write = image_graph if name == "image" else patch_graph
        return write(self._config.model, self._head, read_backbone())

    def _cls_dim(self) -> int:
        raw = self._config.model.vision_head.raw_cls
        return self.patch_dim if raw is None else len(self._head["vision_head.raw_cls.norm.mean"])
