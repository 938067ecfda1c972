"""The configuration of the loss: the section ``loss`` of a training run."""

from typing import Annotated, Literal

from pydantic import Field

from dinotxt.config import Config


class GramConfig(Config):
    """Keep the similarities among a picture's patches, as DINOv3's text training can.

    The squared difference of two Gram matrices, that of the vision head's patches and that of the
    backbone's, is averaged over the pictures of the batch and added to the loss.

    Attributes:
        weight: Its factor.
        normalize: Compare cosines rather than dot products.
        patches: How many patches of a picture, drawn anew each step, are compared; None: all.
    """

    weight: Annotated[float, Field(gt=0)] = 1.0
    normalize: bool = True
    patches: Annotated[int, Field(ge=2)] | None = None


class _LossConfig(Config):
    gram: GramConfig | None = None


class ClipLossConfig(_LossConfig):
    """The softmax loss of CLIP (the paper's).

    Attributes:
        gram: A second loss, of the patches; None: off.
    """

    kind: Literal["clip"] = "clip"


class SigmoidLossConfig(_LossConfig):
    """The sigmoid loss of SigLIP, with a trained bias.

    Attributes:
        bias: Where the bias starts.
        gram: A second loss, of the patches; None: off.
    """

    kind: Literal["sigmoid"] = "sigmoid"
    bias: float = -10.0


LossConfig = Annotated[ClipLossConfig | SigmoidLossConfig, Field(discriminator="kind")]
