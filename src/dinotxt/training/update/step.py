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
from dinotxt.models.vision import SubsetDraw, Tokens
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed import World
from dinotxt.training.feed import Batch
from dinotxt.training.profile import Phase, phase
from dinotxt.training.update.acceleration import autocast
from dinotxt.training.update.objective import Objective
from dinotxt.training.update.parallel import accumulating


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A part of a step's batch on the device; ``vision`` is tokens where the backbone rests.

    ``start`` counts the pairs of this process before it. ``real`` is what counts of its outputs:
    nothing where it stands in for pairs that are all broken.
    """

    vision: Tensor | Tokens
    batch: Batch
    draw: SubsetDraw
    start: int
    seed: int
    real: slice


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
            return self._backward(self._outputs(chunks[0]), chunks, "backward")
        with torch.no_grad():
            parts = list(zip(*[self._outputs(chunk) for chunk in chunks], strict=True))
        outputs = [torch.cat(part).requires_grad_() for part in parts]
        loss = self._backward(outputs, chunks, "loss")
        gradients = [_split_grad(*both) for both in zip(outputs, parts, strict=True)]
        for chunk, *own in zip(chunks, *gradients, strict=True):
            with nullcontext() if chunk is chunks[-1] else accumulating(self.towers):
                pairs = zip(self._outputs(chunk), own, strict=True)
                # With frozen towers and no head, an output may have nothing behind it to train.
                live = [(output, grad) for output, grad in pairs if output.requires_grad]
                with phase("backward"):
                    torch.autograd.backward(
                        [output for output, _ in live], [grad for _, grad in live]
                    )
        return loss

    def _backward(self, outputs: Sequence[Tensor], chunks: Sequence[_Chunk], name: Phase) -> Tensor:
        """Return the loss, its gradients sent back, which a profile counts as ``name``."""
        image, text, *gram = outputs
        owners = None
        if self.captions == "all":
            parts = [
                (c.batch.owners + c.start, c.real) for c in chunks if c.batch.owners is not None
            ]
            owners = torch.cat([part[real] for part, real in parts])
        made = [c.batch.made[c.real] for c in chunks if c.batch.made is not None]
        with phase("loss"):
            loss: Tensor = self.objective(
                image,
                text,
                self.model.logit_scale,
                owners,
                gram[0] if gram else None,
                torch.cat(made) if made else None,
            )
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
            moved = (batch if len(batch) else batch.stand_in()).to(self.world.device)
            vision = moved.vision
            if isinstance(vision, Tensor) and self.model.backbone.config.frozen:
                with phase("frozen forward"), autocast(self.compute, self.world.device):
                    vision = self.model.backbone(vision)
            draw = SubsetDraw(
                seed=self.seed,
                step=step,
                global_batch=sum(counts),
                start=before + start,
                size=len(moved),
            )
            seed = _seed(self.seed, step, first + number)
            real = slice(None if len(batch) else 0)
            chunks.append(_Chunk(vision, moved, draw, start, seed, real))
            start += len(batch)
        return chunks

    def _outputs(self, chunk: _Chunk) -> list[Tensor]:
        """Return image features ``[b, E]``, text features and, where it is on, the gram loss."""
        torch.manual_seed(chunk.seed)
        with phase("trained forward"), autocast(self.compute, self.world.device):
            outputs = self.towers(chunk.vision, chunk.batch, chunk.draw)
        return [output[chunk.real] for output in outputs]


def _split_grad(whole: Tensor, parts: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the part of the gradient that belongs to each chunk."""
    assert whole.grad is not None
    return torch.split(whole.grad, [len(part) for part in parts])


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
