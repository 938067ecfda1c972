"""High-resolution inference: share of the matmul rate, of the backbone, and memory.

The picture has 896x896 pixels. Rates are those of DINOv2 ViT-S/14 with random weights and 800
crops; memory is that of features of width 1024 on the grid, from a tower that takes none itself.
"""

import multiprocessing
import statistics
import time

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import Transform, TransformConfig
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.segmenter import HighRes, Segmenter
from dinotxt.text.tokenizer import TokenBatch, Tokenizer
from encode import dinov2, vit_flops
from harness import Figure, added_memory, at_least, limit, main, matmul_flops, seconds

_SIDE, _BATCH = 896, 16
_LABELS = [f"label {number}" for number in range(21)]
_MATMUL_SHARE, _BACKBONE_SHARE, _MEMORY = 0.7, 0.9, 1.5


class PlainTowers:
    """Towers whose patches are plain colours, spread over many channels at no cost in memory."""

    embed_dim = patch_dim = 1024
    patch_size = 14
    logit_scale = 1.0
    fingerprint = "plain"

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._basis = generator.standard_normal((3, self.patch_dim), dtype=np.float32)

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, E]``."""
        return np.asarray(pixels.mean(axis=(2, 3)) @ self._basis, dtype=np.float32)

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, h, w, Dp]``."""
        size = self.patch_size
        sampled = pixels[:, :, ::size, ::size].transpose(0, 2, 3, 1)
        return np.asarray(sampled @ self._basis, dtype=np.float32)

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return ``[N, E]``."""
        return np.ones((len(tokens), self.embed_dim), dtype=np.float32)

    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[N, Dp]``."""
        return text_features


def measure(quick: bool) -> dict[str, Figure]:
    """Measure all figures."""
    return {**_rates(100 if quick else 800, 1 if quick else 3), "memory": _memory(quick)}


def _rates(crops: int, runs: int) -> dict[str, Figure]:
    towers = dinov2()
    encoder = Encoder(towers, Tokenizer.clip(), Transform(TransformConfig()), "vit-s14")
    times: list[float] = []
    encode = towers.encode_patches

    def timed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        start = time.perf_counter()
        features = encode(pixels)
        times.append(time.perf_counter() - start)
        return features

    towers.encode_patches = timed  # type: ignore[method-assign]
    picture = _picture()
    _segmenter(encoder, _BATCH)(picture)
    segment = _segmenter(encoder, crops)
    flops = crops * vit_flops(tokens=257, width=384, layers=12, patch=14)
    shares, busy, rates, peers = [], [], [], []
    for _ in range(runs):
        times.clear()
        before = matmul_flops()
        whole = seconds(lambda: segment(picture))
        peers.append((before + matmul_flops()) / 2)
        rates.append(flops / whole)
        shares.append(rates[-1] / peers[-1])
        busy.append(sum(times) / whole)
    matmul = Figure(
        value=statistics.median(rates) / 1e9,
        peer=statistics.median(peers) / 1e9,
        ratio=statistics.median(shares),
        unit="GFLOP/s",
        runs=runs,
    )
    backbone = at_least(statistics.median(busy), goal=_BACKBONE_SHARE, unit="share", runs=runs)
    return {"matmul_share": matmul, "backbone_share": backbone}


def _memory(quick: bool) -> Figure:
    """Return by how much the peak of a fresh process exceeds what it held before the call."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        grown = pool.apply(_growth, (100 if quick else 800,))
    return limit(grown / 2**30, limit=_MEMORY, unit="GiB")


def _growth(crops: int) -> int:
    """Return bytes."""
    encoder = Encoder(PlainTowers(), Tokenizer.clip(), Transform(TransformConfig()), "plain")
    _segmenter(encoder, 4)(_picture().resize((64, 64)))
    segment = _segmenter(encoder, crops)
    return added_memory(lambda: segment(_picture()))


def _segmenter(encoder: Encoder, crops: int) -> Segmenter:
    mode = HighRes(crops=crops)
    return Segmenter(encoder, _LABELS, mode=mode, templates="{}", batch_size=_BATCH)


def _picture() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main("highres", measure)
