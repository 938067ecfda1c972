"""The learning rate of a step: linear warm-up, then a cosine to zero."""

import math


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int) -> float:
    """Return the share of the peak learning rate that a step uses.

    Args:
        step: The step about to be taken, from 0.
        steps: The length of the run.
        warmup_steps: Steps until the peak; step ``warmup_steps - 1`` is the first at the peak.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
