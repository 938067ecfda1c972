"""The ledger of a run: what a training step costs in floating point operations, and what was spent.

The frozen backbone counts its forward pass, trained parts a backward pass of twice that besides.
Only real text tokens and, under the drop path, only kept samples count. A cache spares the
backbone; gradient caching and activation checkpointing each add a forward pass of trained parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dinotxt.models.config import ModelConfig, cls_width
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import GramConfig, TrainConfig
from dinotxt.training.cost.flops import (
    BackboneFlops,
    HeadFlops,
    TextFlops,
    backbone_flops,
    head_flops,
    planned_backbone,
    planned_text,
    text_flops,
)
from dinotxt.training.feed import Batch, needed_patches

Cached = Literal["none", "all", "pooled"]
_LOSS_PRODUCTS = 8.0  # a tile's logits twice, and both of their gradients


@dataclass(frozen=True, slots=True)
class StepFlops:
    """The floating point operations of a step, or of a part of its batch.

    Attributes:
        frozen: The forward pass of a frozen backbone.
        vision: A trained backbone and the vision head, both passes.
        text: The text encoder, both passes.
        loss: The similarities of pictures and texts, those of patches if the gram loss is on, and
            the gradients of both.
    """

    frozen: float
    vision: float
    text: float
    loss: float

    @property
    def total(self) -> float:
        """Return the sum of the parts."""
        return self.frozen + self.vision + self.text + self.loss


@dataclass(frozen=True, slots=True)
class GramFlops:
    """The gram loss on one picture.

    Attributes:
        forward: Both Gram matrices.
        backward: Of the trained one, which is a product of the patches with themselves.
    """

    forward: float = 0.0
    backward: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Computes the operations of training steps.

    Attributes:
        backbone: The backbone on one picture.
        head: The vision head on one picture.
        text: The text encoder.
        embed_dim: Width E of the features.
        frozen: Whether the backbone is frozen.
        drop_path: Share of the samples that skips a branch of the head.
        cached: What of the backbone's output comes from a cache.
        passes: Forward passes of trained parts: two with gradient caching.
        recomputes: Whether the backward pass repeats them (activation checkpointing).
        gram: The loss of the patches.
    """

    backbone: BackboneFlops
    head: HeadFlops
    text: TextFlops
    embed_dim: int
    frozen: bool
    drop_path: float = 0.0
    cached: Cached = "none"
    passes: int = 1
    recomputes: bool = False
    gram: GramFlops = GramFlops()

    @classmethod
    def of_run(cls, model: DinoTxt, config: TrainConfig) -> "Ledger":
        """Return the ledger of a run around its model."""
        backbone = backbone_flops(model.backbone, config.data.size)
        text = text_flops(model.text_encoder, model.embed_dim, model.vision_head.cls_dim)
        return cls._build(config, backbone, text, model.embed_dim)

    @classmethod
    def planned(cls, config: TrainConfig) -> "Ledger":
        """Return the ledger of a run that may never be run: no weights are built or read.

        Raises:
            ConfigError: If a tower of the configuration is not known.
        """
        backbone = planned_backbone(config.model.backbone, config.data.size)
        embed_dim = embedding_width(config.model, backbone.width)
        head = config.model.vision_head
        cls_dim = cls_width(head, head.dim or backbone.width, backbone.width)
        text = planned_text(config.model.text_encoder, embed_dim, cls_dim)
        return cls._build(config, backbone, text, embed_dim)

    @classmethod
    def _build(
        cls,
        config: TrainConfig,
        backbone: BackboneFlops,
        text: TextFlops,
        embed_dim: int,
    ) -> "Ledger":
        head_config = config.model.vision_head
        cached = cached_kind(config)
        seen = backbone
        if cached == "pooled":
            seen = replace(backbone, num_patches=1, num_registers=0)
        elif head_config.patch_dropout:
            kept = max(int((1 - head_config.patch_dropout) * backbone.num_patches), 1)
            seen = replace(backbone, num_patches=kept)
        micro = config.micro_batch_size or config.batch_size
        return cls(
            backbone=backbone,
            head=head_flops(head_config, seen),
            text=text,
            embed_dim=embed_dim,
            frozen=config.model.backbone.frozen,
            drop_path=head_config.drop_path if head_config.num_blocks else 0.0,
            cached=cached,
            passes=2 if micro < config.batch_size else 1,
            recomputes=config.compute.activation_checkpointing,
            gram=gram_flops(config.loss.gram, head_config.dim or backbone.width, seen),
        )

    def step(
        self, num_pictures: int, lengths: ArrayLike, *, global_pictures: int | None = None
    ) -> StepFlops:
        """Return the operations of a step on pictures and texts.

        Args:
            num_pictures: Pictures of this process.
            lengths: Tokens of each text of this process.
            global_pictures: Pictures of the step over all processes, which the loss compares
                with the texts of this one; None: those of this process.
        """
        contrasted = global_pictures or num_pictures
        contrast = _LOSS_PRODUCTS * self.embed_dim * contrasted * np.asarray(lengths).size
        gram = self.passes * self.gram.forward + self.gram.backward
        return StepFlops(
            frozen=num_pictures * self._frozen(),
            vision=num_pictures * self._vision(contrasted),
            text=self.text.step(lengths, passes=self._forwards),
            loss=contrast + num_pictures * gram,
        )

    def batches(self, batches: Sequence[Batch], *, num_ranks: int = 1) -> float:
        """Return the operations of a step whose pairs come in micro-batches, in 1e9.

        Several mean gradient caching. Other processes are taken to have texts of the same lengths.
        """
        pictures = sum(len(batch) for batch in batches)
        lengths = np.concatenate([batch.lengths.numpy() for batch in batches])
        ledger = replace(self, passes=min(len(batches), 2))
        flops = ledger.step(pictures, lengths, global_pictures=pictures * num_ranks)
        return num_ranks * flops.total / 1e9

    @property
    def _forwards(self) -> int:
        return self.passes + int(self.recomputes)

    def _frozen(self) -> float:
        return self.backbone.forward if self.frozen and self.cached == "none" else 0.0

    def _vision(self, batch: int) -> float:
        kept = max(int((1 - self.drop_path) * batch), 1) / max(batch, 1)
        head = self.head.forward - (1 - kept) * self.head.branches
        if self.frozen:
            return (self._forwards + 2) * head - self.head.first
        backbone = (self._forwards + 2) * self.backbone.forward - self.backbone.stem
        return backbone + (self._forwards + 2) * head


def gram_flops(config: GramConfig | None, width: int, backbone: BackboneFlops) -> GramFlops:
    """Return the operations of the gram loss; ``width``: of the head's patches."""
    if config is None:
        return GramFlops()
    patches = min(config.patches or backbone.num_patches, backbone.num_patches)
    products = 2.0 * patches**2
    return GramFlops(products * (width + backbone.width), 2 * products * width)


def embedding_width(config: ModelConfig, backbone_width: int) -> int:
    """Return the width E of the features of a model that is not built."""
    head = config.vision_head
    width = head.dim or backbone_width
    return head.cls_projection or cls_width(head, width, backbone_width) + width


def cached_kind(config: TrainConfig) -> Cached:
    """Tell what of the backbone's output a run reads from its cache."""
    if not config.data.is_cached:
        return "none"
    return "pooled" if needed_patches(config) else "all"
