"""Each step of the two segmentation protocols against a reference written here, in PyTorch.

The references follow mmcv 1.6 and mmsegmentation 0.27 (TCL) and the steps of DINOv3's notebook.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dinotxt.evaluation.protocols import (
    AVERAGING,
    NotebookWindows,
    TclWindows,
    notebook_size,
    resize_bilinear,
)
from dinotxt.inference.dense import Query
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.inputs import scaled_size, windows
from dinotxt.inference.segmenter import Segmenter
from dinotxt.metrics.confusion import Confusion

LABELS = ["red", "green", "blue"]
SIZES = [(640, 480), (500, 375), (375, 500), (683, 512), (2048, 1024), (3000, 500), (90, 90)]


def noise(width: int, height: int) -> Image.Image:
    """A picture whose regions differ, so that labels change within windows."""
    generator = np.random.default_rng(width * height)
    coarse = generator.integers(0, 256, (height // 9 + 1, width // 9 + 1, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


@pytest.mark.parametrize("size", SIZES)
def test_tcl_size_is_that_of_mmcv_rescale(size: tuple[int, int]) -> None:
    width, height = size
    scale = min(2048 / max(size), 448 / min(size))
    expected = (int(width * scale + 0.5), int(height * scale + 0.5))
    assert scaled_size(Image.new("L", size), 448) == expected


def test_tcl_resize_is_bilinear_without_antialiasing() -> None:
    picture = noise(200, 150)
    resized = resize_bilinear(picture, 70, 52)
    assert isinstance(resized, Image.Image)
    planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].double()
    expected = F.interpolate(planes, (52, 70), mode="bilinear", align_corners=False)
    difference = expected[0].permute(1, 2, 0).numpy() - np.asarray(resized)
    assert np.abs(difference).max() <= 0.51
    assert np.abs(np.asarray(picture.resize((70, 52), 2)).astype(int) - resized).max() > 1


@pytest.mark.parametrize("size", [(448, 448), (598, 448), (448, 700), (2048, 341), (896, 448)])
def test_tcl_windows_are_those_of_mmseg_slide_inference(size: tuple[int, int]) -> None:
    width, height = size
    expected = []
    for row in range(max(height - 448 + 224 - 1, 0) // 224 + 1):
        for column in range(max(width - 448 + 224 - 1, 0) // 224 + 1):
            bottom, right = min(row * 224 + 448, height), min(column * 224 + 448, width)
            top, left = max(bottom - 448, 0), max(right - 448, 0)
            expected.append((top, left, bottom - top, right - left))
    found = [(w.top, w.left, w.height, w.width) for w in windows(width, height, 448, 224)]
    assert found == expected


def test_tcl_text_is_the_mean_of_prompts_that_are_not_normalised(colour_encoder: Encoder) -> None:
    patterns = ["{}", "{} {}", "red {}"]
    found = colour_encoder.encode_labels(LABELS, patterns, average=AVERAGING["tcl"]).features
    for label, features in zip(LABELS, found, strict=True):
        prompts = [pattern.replace("{}", label) for pattern in patterns]
        rows = torch.from_numpy(colour_encoder.encode_text(prompts, normalize=False))
        expected = F.normalize(rows.mean(dim=0), dim=0).numpy()
        np.testing.assert_allclose(features, expected, atol=1e-6)
    weighted = colour_encoder.encode_labels(LABELS, patterns).features
    assert not np.allclose(weighted, found, atol=1e-3)


def dense_text(encoder: Encoder, labels: list[str], templates: str) -> np.ndarray:
    return encoder.dense_text(encoder.encode_labels(labels, templates).features)


def reference_scores(
    encoder: Encoder,
    planes: Tensor,
    window: int,
    stride: int,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Slide over planes [3, H, W] from 0 to 1; return the mean maps [1, C, H, W]."""
    text = torch.from_numpy(dense_text(encoder, LABELS, "simple"))
    _, height, width = planes.shape
    total = torch.zeros(1, len(LABELS), height, width)
    count = torch.zeros(1, 1, height, width)
    for row in range(math.ceil(max(height - window, 0) / stride) + 1):
        for column in range(math.ceil(max(width - window, 0) / stride) + 1):
            bottom = min(row * stride + window, height)
            right = min(column * stride + window, width)
            here = np.s_[max(bottom - window, 0) : bottom, max(right - window, 0) : right]
            part = planes[(slice(None), *here)]
            patches = F.avg_pool2d(part[None], 8)
            cosines = torch.einsum("bdhw,cd->bchw", F.normalize(patches, dim=1), text)
            enlarged = F.interpolate(cosines, part.shape[1:], mode="bilinear", align_corners=False)
            total[(..., *here)] += activation(enlarged)
            count[(..., *here)] += 1
    return total / count


def agreement(scores: Tensor, picture: Image.Image, label_map: np.ndarray) -> float:
    width, height = picture.size
    enlarged = F.interpolate(scores, (height, width), mode="bilinear", align_corners=False)
    return float((enlarged[0].argmax(dim=0).numpy() == label_map).mean())


def to_planes(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("size", [(100, 70), (60, 130)])
def test_tcl_label_map_equals_the_reference(colour_encoder: Encoder, size: tuple[int, int]) -> None:
    picture = noise(*size)
    segment = Segmenter(colour_encoder, LABELS, mode=TclWindows(), templates="simple")
    width, height = scaled_size(picture, 448)
    planes = F.interpolate(to_planes(picture)[None] * 255, (height, width), mode="bilinear")
    scores = reference_scores(
        colour_encoder, planes[0].round() / 255, 448, 224, lambda logits: logits
    )
    assert agreement(scores, picture, segment(picture).label_map) > 0.999


@pytest.mark.parametrize("size", [(640, 480), (480, 641), (512, 512), (683, 512)])
def test_notebook_size_cuts_the_long_side(size: tuple[int, int]) -> None:
    width, height = size
    short, long = min(size), max(size)
    cut = int(512 * long / short)
    expected = (512, cut) if width <= height else (cut, 512)
    assert notebook_size(Image.new("L", size), 512) == expected


def test_notebook_text_is_the_patch_half_normalised_before_and_after_the_mean(
    tiny_model: Path,
) -> None:
    encoder = load(tiny_model)
    patterns = ["a photo of a {}.", "{}", "itap of my {}."]
    known = encoder.encode_labels(LABELS, patterns, average=AVERAGING["dinov3"])
    found = encoder.dense_text(known.features)
    for label, features in zip(LABELS, found, strict=True):
        prompts = [pattern.replace("{}", label) for pattern in patterns]
        rows = torch.from_numpy(encoder.encode_text(prompts, normalize=False))
        halves = F.normalize(rows[:, rows.shape[1] // 2 :], dim=-1)
        expected = F.normalize(halves.mean(dim=0), dim=0).numpy()
        np.testing.assert_allclose(features, expected, atol=1e-6)
    whole = encoder.dense_text(encoder.average_prompts(LABELS, patterns))
    assert np.abs(whole - found).max() > 1e-4  # normalising the whole first is another mean


@pytest.mark.parametrize("size", [(100, 70), (60, 130)])
def test_notebook_label_map_equals_the_reference(
    colour_encoder: Encoder, size: tuple[int, int]
) -> None:
    picture = noise(*size)
    segment = Segmenter(colour_encoder, LABELS, mode=NotebookWindows(), templates="simple")
    target = notebook_size(picture, 512)
    planes = to_planes(picture.resize(target, Image.Resampling.BICUBIC))
    scores = reference_scores(
        colour_encoder, planes, 384, 192, lambda logits: logits.softmax(dim=1)
    )
    assert agreement(scores, picture, segment(picture).label_map) > 0.999


def test_notebook_softmax_is_taken_before_windows_are_averaged(colour_encoder: Encoder) -> None:
    picture = noise(100, 70)
    mode = NotebookWindows()
    query = Query(colour_encoder, dense_text(colour_encoder, LABELS, "simple"), batch_size=2)
    rows = mode.score_map(query, picture)
    values = rows.rows(0, 16)
    np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)
    whole = NotebookWindows(size=None).score_map(query, picture)
    assert whole.shape == rows.shape
    assert np.abs(whole.rows(0, 16).sum(axis=-1) - 1).max() > 0.01


def test_iou_is_intersection_over_union_of_the_whole_set_without_ignored_pixels() -> None:
    generator = np.random.default_rng(0)
    confusion = Confusion(5)
    intersection, union = np.zeros(5), np.zeros(5)
    for _ in range(3):
        truth = generator.integers(0, 5, (20, 30))
        truth[generator.random(truth.shape) < 0.2] = 255
        predicted = generator.integers(0, 5, (20, 30))
        confusion.add(truth, predicted)
        kept = truth != 255
        for label in range(5):
            mine, theirs = (predicted == label) & kept, (truth == label) & kept
            intersection[label] += (mine & theirs).sum()
            union[label] += (mine | theirs).sum()
    np.testing.assert_allclose(confusion.iou(), intersection / union)
    assert confusion.miou() == pytest.approx((intersection / union).mean())
