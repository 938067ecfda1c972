"""Image encoding: DINOv2 ViT-S/14 against bare timm and the machine's matmul, lite against timm."""

import io
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from dinotxt.data.pictures import Transform
from dinotxt.inference.encoder import load
from dinotxt.inference.engines.torch_towers import TorchTowers
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt
from harness import Figure, main, paired_rates, today_place
from today import Today, paired_cpu_rates

_NAME = "vit_small_patch14_dinov2"
_SIZE = 224
_BATCH = 16
_MATMUL = 2048
_TODAY = f"""
import dinotxt, pathlib
encoder = dinotxt.load("lite", device="cpu")
pictures = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[1]).iterdir())]
def call():
    encoder.encode_image(pictures, batch_size={_BATCH})
"""


def vit_flops(*, tokens: int, width: int, layers: int, patch: int) -> int:
    """Return the FLOPs (two a multiply-add) of a vision transformer's forward pass."""
    linear = 2 * tokens * 12 * width**2
    attention = 2 * 2 * tokens**2 * width
    return layers * (linear + attention) + 2 * (tokens - 1) * 3 * patch**2 * width


def measure(quick: bool) -> dict[str, Figure]:
    """Measure all figures."""
    runs = 3 if quick else 9
    pixels = np.random.default_rng(0).standard_normal((_BATCH, 3, _SIZE, _SIZE), dtype=np.float32)
    towers = dinov2()
    bare = timm.create_model(_NAME, num_classes=0, img_size=_SIZE).eval()
    encode_image = paired_rates(
        lambda: towers.encode_image(pixels),
        partial(_forward, bare, torch.from_numpy(pixels)),
        work=_BATCH,
        unit="images/s",
        runs=runs,
    )
    flops = vit_flops(tokens=257, width=384, layers=12, patch=14)
    left, right = torch.randn(2, _MATMUL, _MATMUL)
    share = paired_rates(
        lambda: towers.encode_image(pixels),
        lambda: left @ right,
        work=_BATCH * flops / 1e9,
        peer_work=2 * _MATMUL**3 / 1e9,
        unit="GFLOP/s",
        runs=runs,
    )
    return {"encode_image": encode_image, "matmul_share": share, **_lite(quick)}


def dinov2() -> TorchTowers:
    """Return DINOv2 ViT-S/14 with random weights, without a head."""
    config = ModelConfig(
        backbone=BackboneConfig(name=_NAME, weights="random"),
        vision_head=VisionHeadConfig(num_blocks=0),
        text_encoder=TransformerTextConfig(width=64, layers=1, heads=1),
    )
    return TorchTowers(DinoTxt.from_config(config), device="cpu", fingerprint="random")


def _lite(quick: bool) -> dict[str, Figure]:
    """Compare from the files on: decode, resize, normalise, encode."""
    count = 64 if quick else 256
    encoder = load("lite", device="cpu")
    pictures = _jpegs(count)
    bare = timm.create_model("tf_efficientnet_lite2", num_classes=0).eval()
    transform = encoder.transform
    runs = 2 if quick else 5

    def ours() -> None:
        encoder.encode_image(pictures, batch_size=_BATCH)

    eager = paired_rates(
        ours,
        lambda: _eager(bare, transform, pictures),
        work=count,
        unit="images/s",
        runs=runs,
    )
    place = today_place()
    if place is None:
        return {"lite": eager}
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(pictures):
            Path(folder, f"{number:04d}.jpg").write_bytes(picture)
        today = Today(place, _TODAY, folder)
        figure = paired_cpu_rates(ours, today, work=count, unit="images/CPU s", runs=runs)
        today.close()
    return {"lite": eager, "lite_today": figure}


def _eager(model: nn.Module, transform: Transform, pictures: list[bytes]) -> None:
    for start in range(0, len(pictures), _BATCH):
        batch = [transform.load(picture) for picture in pictures[start : start + _BATCH]]
        _forward(model, torch.from_numpy(np.stack(batch)))


@torch.inference_mode()
def _forward(model: nn.Module, pixels: torch.Tensor) -> None:
    model(pixels)


def _jpegs(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=88)
        files.append(stream.getvalue())
    return files


if __name__ == "__main__":
    main("encode", measure)
