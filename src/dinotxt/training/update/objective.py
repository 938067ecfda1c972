"""The loss of a run as a module, since a loss may have parameters of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.losses import Exchange, Relatives, Ring, clip_loss, sigmoid_loss
from dinotxt.training.config import LossConfig


class Objective(nn.Module):
    """Turns the features of a batch into its loss.

    Args:
        config: Which loss.
        exchange: How processes compare their features; None: this process alone.
        cls_dim: Width of the features' first half where each half has a loss of its own, which
            are added; None: one loss of the whole vector.
        lies_under: Which class of a teacher lies under which of its terms; see ``Relatives``.
    """

    def __init__(
        self,
        config: LossConfig,
        exchange: Exchange | None = None,
        *,
        cls_dim: int | None = None,
        lies_under: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.exchange = exchange or Ring()
        self.bounds = () if cls_dim is None else (cls_dim,)
        self.lies_under: Tensor | None
        self.register_buffer("lies_under", lies_under, persistent=False)
        self.logit_bias = None
        if config.kind == "sigmoid":
            self.logit_bias = nn.Parameter(torch.tensor(config.bias))

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        log_scale: Tensor,
        owners: Tensor | None = None,
        gram: Tensor | None = None,
        made: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of the pictures and texts of all processes.

        Args:
            image_features: ``[N, E]``; normalised here, over the whole vector or each half.
            text_features: ``[M, E]``, likewise.
            log_scale: The logarithm of the logit scale.
            owners: ``[M]``, the picture of each text; None: row by row.
            gram: Parts of the gram loss, whose sum over all processes is added; None: it is off.
            made: ``[N, 2]``, the class and term of each picture that a teacher made, else -1.
        """
        scale = log_scale.exp()
        images, texts = (x.tensor_split(self.bounds, -1) for x in (image_features, text_features))
        relatives = None
        if made is not None and self.lies_under is not None:
            relatives = Relatives(made, self.lies_under)
        losses = [
            self._contrast(image, text, scale, owners, relatives)
            for image, text in zip(images, texts, strict=True)
        ]
        loss = torch.stack(losses).sum()
        return loss if gram is None else loss + self._total(gram)

    def _total(self, parts: Tensor) -> Tensor:
        """Return the sum over all processes; the gradient is that of the own parts."""
        own = parts.sum()
        return own + (self.exchange.total(own.detach().clone()) - own.detach())

    def _contrast(
        self,
        image_features: Tensor,
        text_features: Tensor,
        scale: Tensor,
        owners: Tensor | None,
        relatives: Relatives | None,
    ) -> Tensor:
        image = F.normalize(_full_precision(image_features), dim=-1)
        text = F.normalize(_full_precision(text_features), dim=-1)
        if self.logit_bias is not None:
            return sigmoid_loss(image, text, scale, self.logit_bias, self.exchange)
        return clip_loss(image, text, scale, owners, self.exchange, relatives)


def _full_precision(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))
