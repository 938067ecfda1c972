"""DINOv3's open-vocabulary segmentation notebook, its steps written anew, on the same model.

Source: facebookresearch/dinov3, ``notebooks/dinotxt_segmentation_inference.ipynb``, as described
in docs/deviations.md. It unpacks (cls, _, patches) of ``get_class_and_patch_tokens``: what it
scores are the backbone's own patches, not those of the head.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dinotxt.evaluation.job import Job, Options
from dinotxt.evaluation.segmentation import chosen_embedding, job_segmenter
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.engines.torch_towers import TorchTowers
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt

LABELS = ["red", "green", "blue", "red green", "green blue"]
SIZES = [(64, 64), (80, 60), (60, 80), (96, 64), (64, 96), (120, 50), (70, 70), (90, 64)]
ODD = [(67, 51), (53, 101)]
PATCH = 16


@pytest.fixture(scope="module")
def model() -> DinoTxt:
    """A DINOv3 of width 32 with a head block, random."""
    torch.manual_seed(0)
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    config = ModelConfig(
        backbone=BackboneConfig(name="vit_small_patch16_dinov3", weights="random", options=options),
        vision_head=VisionHeadConfig(num_blocks=1, num_heads=2),
        text_encoder=TransformerTextConfig(width=32, layers=1, heads=2, vocab_size=100),
    )
    return DinoTxt.from_config(config).eval()


@pytest.fixture
def encoder(model: DinoTxt, colour_encoder: Encoder) -> Encoder:
    """The model behind the tokenizer and the transform of the colours."""
    towers = TorchTowers(model, device="cpu", fingerprint="tiny")
    return Encoder(towers, colour_encoder.tokenizer, colour_encoder.transform, "tiny")


def picture_of(size: tuple[int, int]) -> Image.Image:
    generator = np.random.default_rng(size[0] * 1000 + size[1])
    coarse = generator.integers(0, 256, (size[1] // 9 + 1, size[0] // 9 + 1, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)


@torch.inference_mode()
def notebook_label_map(
    model: DinoTxt, text: Tensor, picture: Image.Image, *, whole: bool
) -> np.ndarray:
    """Resize, slide, stretch, compare, enlarge, softmax, average, enlarge, argmax."""
    width, height = picture.size
    short = 512
    if width < height:
        size = short, int(height * short / width)
    else:
        size = int(width * short / height), short
    resized = np.array(picture.resize(size, Image.Resampling.BICUBIC))
    planes = torch.from_numpy(resized).permute(2, 0, 1).float() / 255
    scores = window_scores(model, text, planes) if whole else slide(model, text, planes)
    enlarged = F.interpolate(scores, (height, width), mode="bilinear", align_corners=False)
    return enlarged[0].argmax(dim=0).numpy()


def window_scores(model: DinoTxt, text: Tensor, planes: Tensor) -> Tensor:
    """Return the cosines of the backbone's patches with the patch half, at the pixels' size."""
    _, height, width = planes.shape
    rows, columns = math.ceil(height / PATCH), math.ceil(width / PATCH)
    target = columns * PATCH, rows * PATCH
    if (width, height) != target:
        bytes_of = (planes * 255).round().byte().permute(1, 2, 0).numpy()
        stretched = Image.fromarray(bytes_of).resize(target, Image.Resampling.BICUBIC)
        planes = torch.from_numpy(np.array(stretched)).permute(2, 0, 1).float() / 255
    tokens = model.backbone(planes[None])
    patches = F.normalize(tokens.patches, dim=-1).reshape(1, rows, columns, -1)
    cosines = torch.einsum("bhwd,cd->bchw", patches, text)
    return F.interpolate(cosines, (height, width), mode="bilinear", align_corners=False)


def slide(model: DinoTxt, text: Tensor, planes: Tensor, side: int = 384, step: int = 192) -> Tensor:
    _, height, width = planes.shape
    total = torch.zeros(1, len(text), height, width)
    count = torch.zeros(1, 1, height, width)
    for row in range(max(height - side + step - 1, 0) // step + 1):
        for column in range(max(width - side + step - 1, 0) // step + 1):
            bottom, right = min(row * step + side, height), min(column * step + side, width)
            here = np.s_[max(bottom - side, 0) : bottom, max(right - side, 0) : right]
            scores = window_scores(model, text, planes[(slice(None), *here)])
            total[(..., *here)] += scores.softmax(dim=1)
            count[(..., *here)] += 1
    return total / count


@torch.inference_mode()
def patch_half(encoder: Encoder, templates: list[str]) -> Tensor:
    """Return each class's mean of prompts, of whose patch half each has length 1."""
    found = []
    for label in LABELS:
        prompts = [template.replace("{}", label) for template in templates]
        rows = torch.from_numpy(encoder.encode_text(prompts, normalize=False))
        halves = F.normalize(rows[:, rows.shape[1] // 2 :], dim=-1)
        found.append(F.normalize(halves.mean(dim=0), dim=0))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("mode", "size"),
    [*(("window", size) for size in [*SIZES, *ODD]), *(("whole", size) for size in ODD)],
)
def test_the_protocol_gives_the_notebooks_label_on_every_pixel(
    encoder: Encoder, model: DinoTxt, size: tuple[int, int], mode: Any
) -> None:
    templates = ["a photo of a {}.", "{}"]
    options = Options(protocol="dinov3", mode=mode, templates=templates)
    job = Job(task="segmentation", encoder=encoder, data="", options=options)
    found = job_segmenter(job, LABELS)(picture_of(size)).label_map
    text = patch_half(encoder, templates)
    expected = notebook_label_map(model, text, picture_of(size), whole=mode == "whole")
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() == 1.0


def test_the_heads_patches_stand_beside_it_where_they_are_asked_for(encoder: Encoder) -> None:
    def embedding(**options: Any) -> str | None:
        asked = Options(protocol="dinov3", **options)
        return chosen_embedding(Job(task="segmentation", encoder=encoder, data="", options=asked))

    assert embedding() == "backbone"
    assert embedding(embedding="patch") == "patch"
