"""ViT-S/14 as exported int8 on ONNX Runtime against torch fp32: speed, and likeness of features.

The weights are random (no network is needed); `dinotxt export --verify` measures the same on a
trained model.
"""

import tempfile
from pathlib import Path

from dinotxt.checkpoints.format import save_model
from dinotxt.data.pictures import TransformConfig
from dinotxt.export.folder import export
from dinotxt.export.verify import cosines, smooth_noise
from dinotxt.inference.encoder import Encoder, load
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer
from harness import Figure, at_least, main, paired_rates

_SIZE = 224
_BATCH = 16
_LEAST_COSINE = 0.995


def measure(quick: bool) -> dict[str, Figure]:
    """Measure both figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save(folder / "run")
        done = export(str(folder / "run"), folder / "out", sizes=(_SIZE,))
        ours = load(done.folders["int8"], device="cpu")
        peer = load(str(folder / "run"), device="cpu")
        return _compare(ours, peer, 3 if quick else 9)


def _save(folder: Path) -> None:
    """Write DINOv2 ViT-S/14 with a head of two blocks and a small text encoder."""
    config = ModelConfig(
        backbone=BackboneConfig(name="vit_small_patch14_dinov2", weights="random"),
        vision_head=VisionHeadConfig(num_blocks=2),
        text_encoder=TransformerTextConfig(width=64, layers=1, heads=1),
    )
    save_model(
        DinoTxt.from_config(config),
        folder,
        config=config,
        tokenizer=Tokenizer.clip(),
        transform=TransformConfig(size=_SIZE),
    )


def _compare(ours: Encoder, peer: Encoder, runs: int) -> dict[str, Figure]:
    pixels = smooth_noise(peer, _SIZE, _BATCH)
    features = ours.towers.encode_image(pixels), peer.towers.encode_image(pixels)
    speed = paired_rates(
        lambda: ours.towers.encode_image(pixels),
        lambda: peer.towers.encode_image(pixels),
        work=_BATCH,
        unit="images/s",
        runs=runs,
    )
    least = float(cosines(*features).min())
    return {
        "int8_vit_s14": speed,
        "cosine": at_least(least, goal=_LEAST_COSINE, unit="cosine"),
    }


if __name__ == "__main__":
    main("export", measure)
