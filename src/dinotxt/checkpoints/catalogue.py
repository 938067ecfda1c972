"""The models that are known by name. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model that is known by name.

    Attributes:
        name: The name.
        backbone: Its backbone, for people.
        text_encoder: Its text encoder, for people.
        source: Where its weights come from, for people.
        urls: Meta's files by the argument of ``meta.load`` that takes them.
        patterns: Files that must be at hand, by argument: a pattern in ``DINOTXT_WEIGHTS``.
    """

    name: str
    backbone: str
    text_encoder: str
    source: str
    urls: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)


MODELS = {
    model.name: model
    for model in (
        NamedModel(
            name="lite",
            backbone="EfficientNet-Lite2, frozen",
            text_encoder="MiniLM-L6",
            source="two wheels on PyPI (extra `lite`) and the head inside this package",
        ),
        NamedModel(
            name="dinov2-vitl14",
            backbone="DINOv2 ViT-L/14 with registers, frozen",
            text_encoder="transformer, 24 layers of 1280",
            source="Meta's released files, by URL or in the folder DINOTXT_WEIGHTS",
            urls={
                "backbone": f"{_DINOV2}pretrain.pth",
                "vision_head": f"{_DINOV2}dinotxt_tet1280d20h24l_vision_head.pth",
                "text_encoder": f"{_DINOV2}dinotxt_tet1280d20h24l_text_encoder.pth",
            },
        ),
        NamedModel(
            name="dinov3-vitl16",
            backbone="DINOv3 ViT-L/16, frozen",
            text_encoder="transformer, 24 layers of 1280",
            source="Meta's released files in the folder DINOTXT_WEIGHTS (ask Meta for access)",
            patterns={
                "backbone": "dinov3_vitl16_pretrain*.pth",
                "vision_head_and_text_encoder": (
                    "dinov3_vitl16_dinotxt_vision_head_and_text_encoder-a442d8f5.pth"
                ),
            },
        ),
    )
}
