from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dinotxt.errors import DataError
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.results.skip import Skip
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed.world import World
from dinotxt.training.feed.captions import CaptionTable
from dinotxt.training.feed.validation import Validation


class Noise:
    """Six random pictures, the fifth unreadable; counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[torch.Tensor, NDArray[np.int64], tuple[Skip, ...]]:
        del epoch
        self.reads += 1
        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        kept = pairs[pairs != 4]
        return images[kept], kept, (Skip("4", "torn"),)


@pytest.mark.parametrize("frozen", [True, False])
def test_recalls_are_those_of_the_features_and_frozen_tokens_are_kept(
    config: Callable[..., TrainConfig], frozen: bool
) -> None:
    settings = config(f"model.backbone.frozen={str(frozen).lower()}")
    torch.manual_seed(0)
    model = DinoTxt.from_config(settings.model).train()
    captions = [(f"a picture of {n}", f"{n} things") for n in range(6)]
    vision, heard = Noise(), list[Skip]()
    validation = Validation(
        vision,
        CaptionTable(captions, Tokenizer.clip(), seed=0),
        num_pairs=6,
        world=World(torch.device("cpu")),
        on_skip=heard.append,
    )
    first = validation(model)
    assert validation(model) == first
    assert vision.reads == (1 if frozen else 2)
    assert heard[0] == Skip("4", "torn")
    assert model.training
    assert not model.backbone.training or not frozen
    assert first["text_to_image_recall@10"] == 1.0
    images = vision.read(np.arange(6), 0)[0]
    tokens = Tokenizer.clip()([caption for n in (0, 1, 2, 3, 5) for caption in captions[n]])
    with torch.no_grad():
        image = torch.nn.functional.normalize(model.eval().encode_image(images), dim=-1)
        ids, lengths = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.lengths)
        text = torch.nn.functional.normalize(model.encode_text(ids, lengths), dim=-1)
    hits = (image @ text.T).argmax(0) == torch.arange(10) // 2
    assert first["text_to_image_recall@1"] == pytest.approx(hits.float().mean().item(), abs=0.11)


def test_pictures_that_are_all_broken_are_an_error_and_a_chunk_of_them_is_not(
    config: Callable[..., TrainConfig],
) -> None:
    class Broken:
        def __init__(self, first: int) -> None:
            self.first = first

        def read(
            self, pairs: NDArray[np.int64], epoch: int
        ) -> tuple[torch.Tensor, NDArray[np.int64], tuple[Skip, ...]]:
            del epoch
            kept = pairs[pairs < self.first]
            skips = tuple(Skip(str(pair), "torn") for pair in pairs[pairs >= self.first])
            return torch.randn(len(kept), 3, 32, 32), kept, skips

    model = DinoTxt.from_config(config().model)
    captions = CaptionTable([(f"a {n}",) for n in range(66)], Tokenizer.clip(), seed=0)
    world, heard = World(torch.device("cpu")), list[Skip]()
    options = {"num_pairs": 66, "world": world, "on_skip": heard.append}
    assert Validation(Broken(64), captions, **options)(model)["text_to_image_recall@10"] > 0  # type: ignore[arg-type]
    assert [skip.path for skip in heard] == ["64", "65"]
    with pytest.raises(DataError, match=r"not one picture .* data\.val"):
        Validation(Broken(0), captions, **options)(model)  # type: ignore[arg-type]
