"""The training losses; each works in chunks, so that no N x N matrix is ever stored."""

from dinotxt.losses.contrastive import Relatives, clip_loss, sigmoid_loss
from dinotxt.losses.exchange import Exchange, Gather, Ring
from dinotxt.losses.gram import gram_loss

__all__ = ["Exchange", "Gather", "Relatives", "Ring", "clip_loss", "gram_loss", "sigmoid_loss"]
