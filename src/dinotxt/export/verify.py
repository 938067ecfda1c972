"""Hold an exported model against the one that it was made of: speed and likeness."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.engines import Towers
from dinotxt.inference.engines.onnx_towers import OnnxTowers

Features = NDArray[np.float32]
_TEXTS = tuple(
    f"a {kind} of {thing}"
    for kind in ("photo", "blurred picture", "drawing on paper", "very large view")
    for thing in ("a dog", "two red boats", "the street at night", "snow on a far mountain")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One file beside the same tower on torch.

    Attributes:
        file: The file, in its folder.
        precision: ``fp32`` or ``int8``.
        output: ``image``, ``patches`` or ``text``.
        cosine: The mean over features, ours to torch's.
        worst_cosine: The least.
        rate: Pictures or texts a second.
        torch_rate: The same on torch fp32, in the same run.
        speedup: The median over pairs of runs.
        bytes: Of the file.
    """

    file: str
    precision: str
    output: str
    cosine: float
    worst_cosine: float
    rate: float
    torch_rate: float
    speedup: float
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain types only."""
        return asdict(self)


def verify(
    model: str,
    folders: Sequence[Path],
    *,
    batch_size: int = 4,
    runs: int = 5,
    trust_code: bool = False,
) -> list[Comparison]:
    """Compare every file of exported models with the model on torch, on the CPU.

    Args:
        model: What was exported.
        folders: The folders of its precisions.
        batch_size: Pictures a pass, of smooth noise.
        runs: Pairs of runs; rates are their medians.
        trust_code: As for the export.

    Returns:
        Three rows a size and precision at most: pictures, patches, texts.
    """
    peer = load(model, device="cpu", engine="torch", trust_code=trust_code)
    rows: list[Comparison] = []
    for folder in folders:
        ours = load(folder, device="cpu")
        assert isinstance(ours.towers, OnnxTowers), "an exported model runs on ONNX Runtime"
        for size in ours.towers.sizes:
            batch = smooth_noise(peer, size, batch_size)
            rows += _images(folder, ours.towers, peer.towers, batch, runs)
        rows.append(_texts(folder, ours, peer, runs))
    return rows


def smooth_noise(encoder: Encoder, size: int, count: int) -> Features:
    """Return pictures ``[count, C, size, size]`` of coarse random colours, as normalised pixels."""
    channels = len(encoder.transform.config.mean)
    coarse = np.random.default_rng(0).standard_normal((count, channels, 8, 8), dtype=np.float32)
    places = np.linspace(0, 7, size)
    low = np.minimum(places.astype(int), 6)
    share = (places - low).astype(np.float32)
    rows = coarse[:, :, low] * (1 - share)[:, None] + coarse[:, :, low + 1] * share[:, None]
    return np.asarray(rows[..., low] * (1 - share) + rows[..., low + 1] * share)


def cosines(ours: Features, theirs: Features) -> NDArray[np.float64]:
    """Return the cosine of each feature ``[..., E]`` with its counterpart."""
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.asarray((first * second).sum(axis=-1) / np.maximum(lengths, 1e-12))


def _images(
    folder: Path, ours: Towers, peer: Towers, pixels: Features, runs: int
) -> list[Comparison]:
    file = folder / f"image-{pixels.shape[-1]}.onnx"
    rows = []
    for output in ("image", "patches"):
        name = "encode_image" if output == "image" else "encode_patches"
        ours_call, peer_call = getattr(ours, name), getattr(peer, name)
        likeness = cosines(ours_call(pixels), peer_call(pixels))
        rates = _rates(partial(ours_call, pixels), partial(peer_call, pixels), runs)
        rows.append(_row(file, output, likeness, rates, len(pixels)))
    return rows


def _texts(folder: Path, ours: Encoder, peer: Encoder, runs: int) -> Comparison:
    tokens = peer.tokenizer(_TEXTS)
    likeness = cosines(ours.towers.encode_text(tokens), peer.towers.encode_text(tokens))
    rates = _rates(
        lambda: ours.towers.encode_text(tokens), lambda: peer.towers.encode_text(tokens), runs
    )
    return _row(folder / "text.onnx", "text", likeness, rates, len(_TEXTS))


def _rates(
    ours: Callable[[], object], peer: Callable[[], object], runs: int
) -> list[tuple[float, float]]:
    """Return the seconds of paired calls."""
    return [(_seconds(ours), _seconds(peer)) for _ in range(runs)]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return max(time.perf_counter() - start, 1e-9)


def _row(
    file: Path,
    output: str,
    likeness: NDArray[np.float64],
    seconds: list[tuple[float, float]],
    count: int,
) -> Comparison:
    return Comparison(
        file=file.name,
        precision="int8" if file.parent.name == "int8" else "fp32",
        output=output,
        cosine=float(likeness.mean()),
        worst_cosine=float(likeness.min()),
        rate=count / statistics.median(ours for ours, _ in seconds),
        torch_rate=count / statistics.median(theirs for _, theirs in seconds),
        speedup=statistics.median(theirs / ours for ours, theirs in seconds),
        bytes=file.stat().st_size,
    )
