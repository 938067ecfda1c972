"""How a run computes: precision, memory and processes, as against what it learns."""

from typing import Literal

from dinotxt.config import Config

Exchanged = Literal["ring", "gather"]


class ComputeConfig(Config):
    """Speed and memory. But for ``precision``, the keys change results by rounding alone.

    Attributes:
        parallel: What several processes share: ``ddp`` copies the trained weights, ``fsdp`` (FSDP2)
            shards them, their gradients and the optimiser's moments.
        exchange: How processes compare features in the loss: texts travel in a ``ring``, or each
            process holds all of them (``gather``: more memory, fewer messages).
        precision: ``bfloat16``: towers run under autocast where the device has it; weights,
            gradients, the loss and the optimiser stay in float32.
        compile: Compile the trained blocks, one by one (``torch.compile``).
        activation_checkpointing: Keep only the inputs of trained blocks and compute them again in
            the backward pass.
    """

    parallel: Literal["ddp", "fsdp"] = "ddp"
    exchange: Exchanged = "ring"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    activation_checkpointing: bool = False
