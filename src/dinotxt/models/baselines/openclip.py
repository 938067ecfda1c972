"""Models of open_clip behind the interface of ``DinoTxt``: the baselines of Tables 5 and 6.

They were not trained on patches, so their patches are MaskCLIP's values (Zhou et al., 2022; paper,
section 4.1), projected into the space of the text.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.baselines.openclip_vision import NativeTower, ResNetTower, TimmTower
from dinotxt.models.config import Embedding, TextHalf


class WholeFeature(nn.Module):
    """A model whose patches are compared with whole text features.

    Attributes:
        embed_dim: Width E of image, patch and text features.
    """

    embed_dim: int

    def dense_text(
        self, text_features: Tensor, embedding: Embedding = "patch", value_text: TextHalf = "cls"
    ) -> Tensor:
        """Return what patches are compared with: the whole text features [N, E]."""
        del value_text
        self.check_embedding(embedding)
        return text_features

    def patch_dim(self, embedding: Embedding = "patch") -> int:
        """Return the width of patch features, E."""
        self.check_embedding(embedding)
        return self.embed_dim

    def check_embedding(self, embedding: Embedding) -> None:
        """Pass if patches can have this embedding.

        Raises:
            ConfigError: If they cannot.
        """
        raise NotImplementedError


class OpenClip(WholeFeature):
    """An open_clip model: CLIP, MetaCLIP, DFN, EVA-02, SigLIP, CoCa and the others.

    Args:
        model: What ``open_clip.create_model`` gives.
        context_length: Text ids are padded to this length with zeros.

    Raises:
        ConfigError: If the image tower is of a kind that open_clip did not have.
    """

    def __init__(self, model: Any, *, context_length: int) -> None:
        super().__init__()
        self.model = model
        self.context_length = context_length
        self._vision = find_tower(model.visual)
        self.patch_size: int = self._vision.patch_size
        self.embed_dim = self._width()

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by, a scalar."""
        return self.model.logit_scale.reshape(())  # type: ignore[no-any-return]

    def encode_image(self, images: Tensor) -> Tensor:
        """Return image features [B, E] of normalised pictures [B, 3, H, W] of any size."""
        return self._vision.encode_image(images)

    def encode_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return text features [B, E] of padded token ids [B, L]; ``lengths`` has no effect."""
        del lengths
        missing = self.context_length - token_ids.shape[1]
        padded = nn.functional.pad(token_ids, (0, missing))
        return self.model.encode_text(padded)  # type: ignore[no-any-return]

    def encode_patches(self, images: Tensor, embedding: Embedding = "patch") -> Tensor:
        """Return MaskCLIP's patch features [B, h, w, E] of pictures of any size.

        ``patch`` and ``value`` are the same here, as for every model that pools its cls token.

        Raises:
            ConfigError: If the model has no such embedding.
        """
        self.check_embedding(embedding)
        return self._vision.encode_patches(images)

    def check_embedding(self, embedding: Embedding) -> None:
        """Pass if patches can have this embedding.

        Raises:
            ConfigError: If they cannot.
        """
        if embedding not in {"patch", "value"}:
            message = f"embedding {embedding} needs a text feature of two halves"
            raise ConfigError(f"{message}, which open_clip's have not: use value (MaskCLIP).")

    def _width(self) -> int:
        ids = torch.zeros(1, self.context_length, dtype=torch.int64)
        with torch.inference_mode():
            return int(self.model.encode_text(ids).shape[-1])


def find_tower(visual: Any) -> "NativeTower | ResNetTower | TimmTower":
    """Wrap an open_clip image tower by its kind.

    Raises:
        ConfigError: If the kind is unknown.
    """
    kinds: dict[str, type[NativeTower | ResNetTower | TimmTower]] = {
        "VisionTransformer": NativeTower,
        "ModifiedResNet": ResNetTower,
        "TimmModel": TimmTower,
    }
    for parent in type(visual).__mro__:
        if parent.__module__.startswith("open_clip.") and parent.__name__ in kinds:
            return kinds[parent.__name__](visual)
    raise ConfigError(f"open_clip's image tower {type(visual).__name__} is not known here.")
