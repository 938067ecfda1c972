"""One step: features, loss, gradients, optimiser."""

from dinotxt.training.update.learner import Learner

__all__ = ["Learner"]
