"""Refinement by the backbone's own similarity, place by place against plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.errors import ConfigError
from dinotxt.inference.dense.affinity import smooth
from dinotxt.inference.dense.scores import Query
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.segmenter import Segmenter, SlidingWindow


def _expected(
    patches: NDArray[np.float64], frozen: NDArray[np.float64], tau: float
) -> NDArray[np.float64]:
    """The definition (RADSeg, arXiv 2511.19704), with sums written out."""
    count = len(patches)
    centre = sum(frozen) / count
    own = [place - centre for place in frozen]
    unit = [place / math.sqrt(float(place @ place)) for place in patches]
    out = []
    for here in own:
        cosines = [
            float(here @ there) / math.sqrt(float(here @ here) * float(there @ there))
            for there in own
        ]
        weights = [math.exp(cosine / tau) for cosine in cosines]
        total = sum(weights)
        out.append(sum(w / total * value for w, value in zip(weights, unit, strict=True)))
    return np.array(out)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_each_place_is_the_mean_of_what_the_backbone_sees_alike(tau: float) -> None:
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    frozen = rng.standard_normal((2, 3, 4, 7)).astype(np.float32)
    before = patches.copy()
    found = smooth(patches, frozen, tau)
    for picture in range(2):
        expected = _expected(
            patches[picture].reshape(12, 5).astype(np.float64),
            frozen[picture].reshape(12, 7).astype(np.float64),
            tau,
        )
        np.testing.assert_allclose(found[picture].reshape(12, 5), expected, atol=1e-5)
    np.testing.assert_array_equal(patches, before)


def test_two_regions_do_not_mix_and_an_odd_place_follows_its_region() -> None:
    frozen = np.zeros((1, 2, 4, 2), dtype=np.float32)
    frozen[0, :, :2, 0], frozen[0, :, 2:, 1] = 1, 1
    patches = np.zeros((1, 2, 4, 3), dtype=np.float32)
    patches[0, :, :2, 0], patches[0, :, 2:, 1] = 1, 1
    patches[0, 0, 0] = (0, 0, 1)  # one place of the left region says something else
    found = smooth(patches, frozen, 0.05)[0]
    np.testing.assert_allclose(found[0, 0], [0.75, 0, 0.25], atol=1e-4)
    np.testing.assert_allclose(found[1, 3], [0, 1, 0], atol=1e-4)


class _Frozen:
    """Towers whose frozen patches are the patches themselves."""

    def __init__(self, towers: object) -> None:
        self._towers = towers

    def __getattr__(self, name: str) -> object:
        return getattr(self._towers, name)

    def encode_patches_beside(
        self, pixels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        patches = self._towers.encode_patches(pixels)  # type: ignore[attr-defined]
        return patches, patches


@pytest.mark.parametrize("mode", [None, SlidingWindow(32, 16)])
@pytest.mark.parametrize("refine", ["affinity", "both"])
def test_the_segmenter_smooths_in_every_mode(
    colour_encoder: Encoder, mode: SlidingWindow | None, refine: str
) -> None:
    encoder = replace(colour_encoder, towers=_Frozen(colour_encoder.towers))  # type: ignore[arg-type]
    segment = Segmenter(
        encoder,
        ["red", "green"],
        mode=mode,
        templates="simple",
        refine=refine,  # type: ignore[arg-type]
    )
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:, :32, 0], picture[:, 32:, 1] = 255, 255
    label_map = segment(picture).label_map
    assert (label_map[:, :24] == 0).all()
    assert (label_map[:, 40:] == 1).all()
    assert segment.query.affinity is not None


def test_a_model_without_frozen_patches_is_refused_by_name(colour_encoder: Encoder) -> None:
    query = Query(colour_encoder, np.eye(3, dtype=np.float32), affinity=0.1)
    with pytest.raises(ConfigError, match="colours gives no frozen patches"):
        query.encode_patches(np.zeros((1, 3, 32, 32), dtype=np.float32))
