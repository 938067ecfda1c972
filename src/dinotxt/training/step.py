"""One step's loss and gradients, in one pass or by gradient caching in two.

Gradient caching (Gao et al., 2021): all features of the batch are computed in chunks without
their activations, the loss gives the gradient of every feature, and a second pass repeats each
chunk with its activations and sends those gradients on. The drop path and every other random
draw depend on (seed, step, chunk) alone, so both passes see the same model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.drop_path import SubsetDraw
from dinotxt.models.tokens import Tokens
from dinotxt.training.batches import Batch
from dinotxt.training.config import DataConfig
from dinotxt.training.objective import Objective


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A part of a step's batch on the device; ``vision`` is tokens where the backbone rests."""

    vision: Tensor | Tokens
    batch: Batch
    draw: SubsetDraw
    seed: int


class TrainingStep:
    """Computes the loss of a step and leaves the gradients in the parameters.

    Args:
        model: The model, in training mode.
        objective: The loss.
        data: How captions and tokens are used.
        seed: The seed of the run.
        device: Where the model is.
    """

    def __init__(
        self,
        model: DinoTxt,
        objective: Objective,
        data: DataConfig,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model = model
        self.objective = objective
        self.data = data
        self.seed = seed
        self.device = device

    def __call__(self, step: int, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of a step (from 0) whose pairs come in one or more micro-batches."""
        chunks = self._chunks(step, batches)
        if len(chunks) == 1:
            image, text = self._features(chunks[0])
            return self._backward(image, text, chunks)
        with torch.no_grad():
            features = [self._features(chunk) for chunk in chunks]
        images, texts = zip(*features, strict=True)
        image, text = torch.cat(images).requires_grad_(), torch.cat(texts).requires_grad_()
        loss = self._backward(image, text, chunks)
        assert image.grad is not None
        assert text.grad is not None
        image_grads = torch.split(image.grad, [len(part) for part in images])
        text_grads = torch.split(text.grad, [len(part) for part in texts])
        for chunk, *gradients in zip(chunks, image_grads, text_grads, strict=True):
            pairs = zip(self._features(chunk), gradients, strict=True)
            # With frozen towers and no head, an output may have nothing behind it to train.
            live = [(output, grad) for output, grad in pairs if output.requires_grad]
            torch.autograd.backward([output for output, _ in live], [grad for _, grad in live])
        return loss

    def _backward(self, image: Tensor, text: Tensor, chunks: Sequence[_Chunk]) -> Tensor:
        owners = None
        if self.data.captions == "all":
            parts = [c.batch.owners + c.draw.start for c in chunks if c.batch.owners is not None]
            owners = torch.cat(parts)
        loss: Tensor = self.objective(image, text, self.model.logit_scale, owners)
        torch.autograd.backward(loss)
        return loss.detach()

    def _chunks(self, step: int, batches: Sequence[Batch]) -> list[_Chunk]:
        total = sum(len(batch) for batch in batches)
        chunks, start = [], 0
        for number, batch in enumerate(batches):
            moved = batch.to(self.device)
            vision = moved.vision
            if isinstance(vision, Tensor) and self.model.backbone.config.frozen:
                vision = self.model.backbone(vision)
            draw = SubsetDraw(
                seed=self.seed, step=step, global_batch=total, start=start, size=len(batch)
            )
            chunks.append(_Chunk(vision, moved, draw, _seed(self.seed, step, number)))
            start += len(batch)
        return chunks

    def _features(self, chunk: _Chunk) -> tuple[Tensor, Tensor]:
        """Return image features ``[b, E]`` and text features, not normalised."""
        torch.manual_seed(chunk.seed)
        vision, batch = chunk.vision, chunk.batch
        tokens: Tokens = self.model.backbone(vision) if isinstance(vision, Tensor) else vision
        image = self.model.encode_tokens(tokens, draw=chunk.draw)
        text = self.model.encode_text(batch.token_ids, batch.lengths)
        if self.data.captions == "averaged" and batch.owners is not None:
            text = average_captions(text, batch.owners, len(batch))
        return image, text


def average_captions(text_features: Tensor, owners: Tensor, num_pictures: int) -> Tensor:
    """Normalise the features of captions, ``[T, E]``, and average those of each picture."""
    units = F.normalize(text_features, dim=-1)
    sums = units.new_zeros(num_pictures, units.shape[1]).index_add(0, owners, units)
    return sums / owners.bincount(minlength=num_pictures).unsqueeze(1)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
