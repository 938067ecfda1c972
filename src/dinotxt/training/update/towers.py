"""What of a model runs with gradients, as one module that can be wrapped and sharded."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.losses import gram_loss
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import SubsetDraw, Tokens
from dinotxt.training.config import GramConfig
from dinotxt.training.feed import Batch


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """How the pairs of a micro-batch are mixed, as features of both towers.

    Mixup (Zhang et al., 2018) on features (manifold mixup, Verma et al., 2019): a blend of two
    pictures is told by the blend of their captions. Few pairs fill the space between them that way.

    Attributes:
        share: What stays of a pair, ``[B]``, from 0 to 1.
        partner: The other pair, ``[B]``.
    """

    share: Tensor
    partner: Tensor

    @classmethod
    def draw(cls, count: int, strength: float, device: torch.device) -> "Mixture":
        """Draw the shares from Beta(strength, strength) and the partners, by torch's generator."""
        strengths = torch.full((count,), strength)
        share = torch.distributions.Beta(strengths, strengths).sample()
        return cls(share.to(device), torch.randperm(count).to(device))

    def blend(self, features: Tensor) -> Tensor:
        """Mix features ``[B, ...]`` along the first axis."""
        share = self.share.to(features.dtype).view(-1, *[1] * (features.ndim - 1))
        return share * features + (1 - share) * features[self.partner]

    def blend_tokens(self, tokens: Tokens) -> Tokens:
        """Mix the tokens of pictures, each with that of the same place."""
        cls, registers, patches = map(self.blend, (tokens.cls, tokens.registers, tokens.patches))
        return Tokens(cls, registers, patches, tokens.grid)


class TrainedTowers(nn.Module):
    """Both towers of a model without a frozen backbone, and without the scalars of the loss.

    Args:
        model: The model, whose modules these are.
        captions: ``averaged``: one text feature a picture; else one a caption.
        mixup: See ``DataConfig``.
        gram: The loss of the patches; None: off.
    """

    def __init__(
        self,
        model: DinoTxt,
        *,
        captions: str,
        mixup: float | None = None,
        gram: GramConfig | None = None,
    ) -> None:
        super().__init__()
        self.mixup = mixup
        self.gram = gram
        self.averages = captions == "averaged"
        self.backbone = None if model.backbone.config.frozen else model.backbone
        self.vision_head = model.vision_head
        self.text_encoder = model.text_encoder

    def forward(
        self, vision: Tensor | Tokens, batch: Batch, draw: SubsetDraw
    ) -> tuple[Tensor, ...]:
        """Return image and text features, not normalised, and ``[1]``, the gram loss if it is on.

        Args:
            vision: The pictures of a trained backbone, or the tokens of a frozen one.
            batch: The rest of the batch.
            draw: Where it lies in the global batch.
        """
        if isinstance(vision, Tensor):
            assert self.backbone is not None
            vision = self.backbone(vision)
        assert isinstance(vision, Tokens)
        vectors: Tensor = self.text_encoder.pool(batch.token_ids, batch.lengths)
        if self.mixup is not None and self.training:
            mixture = Mixture.draw(len(batch), self.mixup, vectors.device)
            vision, vectors = mixture.blend_tokens(vision), mixture.blend(vectors)
        tokens: Tokens = self.vision_head(vision, draw=draw)
        image = self.vision_head.pool(tokens)
        text: Tensor = self.text_encoder.project(vectors)
        if self.averages and batch.owners is not None:
            text = average_captions(text, batch.owners, len(batch))
        if self.gram is None:
            return image, text
        return image, text, self._gram_part(self.gram, tokens, vision, draw)

    def _gram_part(
        self, config: GramConfig, tokens: Tokens, given: Tokens, draw: SubsetDraw
    ) -> Tensor:
        """Return what these pictures add to the gram loss of the global batch, ``[1]``."""
        given = self.vision_head.seen(given, draw)
        if config.patches is not None:
            chosen = draw.compared_patches(tokens.patches.shape[1], config.patches)
            tokens, given = tokens.keep(chosen), given.keep(chosen)
        loss = gram_loss(tokens.patches, given.patches, normalize=config.normalize)
        return (loss * (config.weight * draw.size / draw.global_batch)).reshape(1)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks that train, tower by tower."""
        return [
            block
            for tower in self.children()
            for block in _longest_row(tower)
            if any(parameter.requires_grad for parameter in block.parameters())
        ]


def average_captions(text_features: Tensor, owners: Tensor, num_pictures: int) -> Tensor:
    """Normalise the features of captions, ``[T, E]``, and average those of each picture."""
    units = F.normalize(text_features, dim=-1)
    sums = units.new_zeros(num_pictures, units.shape[1]).index_add(0, owners, units)
    return sums / owners.bincount(minlength=num_pictures).unsqueeze(1)


def _longest_row(tower: nn.Module) -> list[nn.Module]:
    """Return the longest list of modules of one kind: the blocks of a transformer."""
    rows = [
        list(part) for part in tower.modules() if isinstance(part, nn.ModuleList | nn.Sequential)
    ]
    return max((row for row in rows if len({type(b) for b in row}) == 1), key=len, default=[])
