"""One step's loss and gradients, in one pass or by gradient caching in two.

Gradient caching (Gao et al., 2021): all features of the batch are computed in chunks without
their activations, the loss gives the gradient of every feature, and a second pass repeats each
chunk with its activations and sends those gradients on. The drop path and every other random
draw depend on (seed, step, chunk) alone, so both passes see the same model. With several processes
each has chunks of its own, and the loss is that of all of them.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.drop_path import SubsetDraw
from dinotxt.models.tokens import Tokens
from dinotxt.training.acceleration import autocast
from dinotxt.training.batches import Batch
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed import World
from dinotxt.training.objective import Objective
from dinotxt.training.parallel import accumulating
from dinotxt.training.profile import Phase, phase


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A part of a step's batch on the device; ``vision`` is tokens where the backbone rests.

    ``start`` counts the pairs of this process before it.
    """

    vision: Tensor | Tokens
    batch: Batch
    draw: SubsetDraw
    start: int
    seed: int


class TrainingStep:
    """Computes the loss of a step and leaves the gradients in the parameters.

    Args:
        model: The model, in training mode.
        towers: Its trained towers, as the processes share them.
        objective: The loss.
        config: The run's configuration.
        world: The processes and the device of this one.
    """

    def __init__(
        self,
        model: DinoTxt,
        towers: nn.Module,
        objective: Objective,
        config: TrainConfig,
        world: World,
    ) -> None:
        self.model = model
        self.towers = towers
        self.objective = objective
        self.captions = config.data.captions
        self.compute = config.compute
        self.seed = config.seed
        self.world = world

    def __call__(self, step: int, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of a step (from 0) whose pairs come in one or more micro-batches."""
        chunks = self._chunks(step, batches)
        if len(chunks) == 1:
            image, text = self._features(chunks[0])
            return self._backward(image, text, chunks, "backward")
        with torch.no_grad():
            features = [self._features(chunk) for chunk in chunks]
        images, texts = zip(*features, strict=True)
        image, text = torch.cat(images).requires_grad_(), torch.cat(texts).requires_grad_()
        loss = self._backward(image, text, chunks, "loss")
        assert image.grad is not None
        assert text.grad is not None
        image_grads = torch.split(image.grad, [len(part) for part in images])
        text_grads = torch.split(text.grad, [len(part) for part in texts])
        for chunk, *gradients in zip(chunks, image_grads, text_grads, strict=True):
            with nullcontext() if chunk is chunks[-1] else accumulating(self.towers):
                pairs = zip(self._features(chunk), gradients, strict=True)
                # With frozen towers and no head, an output may have nothing behind it to train.
                live = [(output, grad) for output, grad in pairs if output.requires_grad]
                with phase("backward"):
                    torch.autograd.backward(
                        [output for output, _ in live], [grad for _, grad in live]
                    )
        return loss

    def _backward(
        self, image: Tensor, text: Tensor, chunks: Sequence[_Chunk], name: Phase
    ) -> Tensor:
        """Return the loss, its gradients sent back, which a profile counts as ``name``."""
        owners = None
        if self.captions == "all":
            parts = [c.batch.owners + c.start for c in chunks if c.batch.owners is not None]
            owners = torch.cat(parts)
        with phase("loss"):
            loss: Tensor = self.objective(image, text, self.model.logit_scale, owners)
        with phase(name):
            # The averages over the processes undo the factor.
            torch.autograd.backward(loss, torch.full_like(loss, self.world.size))
        return loss.detach()

    def _chunks(self, step: int, batches: Sequence[Batch]) -> list[_Chunk]:
        counts = self.world.counts(sum(len(batch) for batch in batches))
        before = sum(counts[: self.world.rank])
        first = self.world.rank * len(batches)
        chunks, start = [], 0
        for number, batch in enumerate(batches):
            moved = batch.to(self.world.device)
            vision = moved.vision
            if isinstance(vision, Tensor) and self.model.backbone.config.frozen:
                with phase("frozen forward"), autocast(self.compute, self.world.device):
                    vision = self.model.backbone(vision)
            draw = SubsetDraw(
                seed=self.seed,
                step=step,
                global_batch=sum(counts),
                start=before + start,
                size=len(batch),
            )
            chunks.append(
                _Chunk(vision, moved, draw, start, _seed(self.seed, step, first + number))
            )
            start += len(batch)
        return chunks

    def _features(self, chunk: _Chunk) -> tuple[Tensor, Tensor]:
        """Return image features ``[b, E]`` and text features, not normalised."""
        torch.manual_seed(chunk.seed)
        with phase("trained forward"), autocast(self.compute, self.world.device):
            image, text = self.towers(chunk.vision, chunk.batch, chunk.draw)
        return image, text


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
