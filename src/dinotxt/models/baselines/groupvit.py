"""GroupViT (Xu et al., 2022) behind the interface of ``DinoTxt``: a baseline of Table 6."""

from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.baselines.openclip import WholeFeature
from dinotxt.models.config import Embedding
from dinotxt.models.vision import load_auto_model


class GroupVit(WholeFeature):
    """A GroupViT model of transformers.

    A patch's feature is the mean of its groups' features (each of length 1, in the space of the
    text), weighted by how much of the patch each group took.

    Args:
        model: ``transformers.GroupViTModel``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.embed_dim: int = model.projection_dim
        self.patch_size: int = model.config.vision_config.patch_size
        self.context_length: int = model.config.text_config.max_position_embeddings

    @classmethod
    def load(cls, name: str) -> "GroupVit":
        """Load a folder or a name on the Hugging Face hub.

        Raises:
            CheckpointError: If there is no such model, or it is no GroupViT.
        """
        model = load_auto_model(name)
        if model.config.model_type != "groupvit":
            message = f"{name} is of the kind {model.config.model_type}"
            raise CheckpointError(f"{message}: groupvit: takes GroupViT alone.")
        return cls(model)

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by, a scalar."""
        return self.model.logit_scale  # type: ignore[no-any-return]

    def encode_image(self, images: Tensor) -> Tensor:
        """Return image features [B, E] of normalised pictures [B, 3, H, W] of any size."""
        groups, _ = self._groups(images)
        return self.model.visual_projection(groups.mean(dim=1))  # type: ignore[no-any-return]

    def encode_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return text features [B, E] of padded token ids [B, L] and their lengths [B]."""
        mask = torch.arange(token_ids.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        texts = self.model.text_model(input_ids=token_ids, attention_mask=mask.long())
        return self.model.text_projection(texts.pooler_output)  # type: ignore[no-any-return]

    def encode_patches(self, images: Tensor, embedding: Embedding = "patch") -> Tensor:
        """Return patch features [B, h, w, E] of pictures of any size.

        Raises:
            ConfigError: If another embedding than ``patch`` is asked for.
        """
        self.check_embedding(embedding)
        groups, shares = self._groups(images)
        projected = self.model.visual_projection(groups.flatten(0, 1)).unflatten(
            0, groups.shape[:2]
        )
        patches = shares @ nn.functional.normalize(projected, dim=-1)
        height, width = images.shape[-2:]
        grid = (height // self.patch_size, width // self.patch_size)
        return torch.unflatten(patches, 1, grid)

    def check_embedding(self, embedding: Embedding) -> None:
        """Pass if patches can have this embedding.

        Raises:
            ConfigError: If they cannot.
        """
        if embedding != "patch":
            raise ConfigError(f"GroupViT has no embedding {embedding}: use patch.")

    def _groups(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last groups [B, G, D] and each patch's share in them, [B, h*w, G]."""
        vision = self.model.vision_model
        tokens = vision.embeddings(images, interpolate_pos_encoding=True)
        output = vision.encoder(tokens, output_attentions=True, return_dict=True)
        shares: Tensor | None = None
        for assignment in output.attentions:  # [B, groups, patches or groups of the stage before]
            step = assignment.transpose(1, 2)
            shares = step if shares is None else shares @ step
        assert shares is not None
        return vision.layernorm(output.last_hidden_state), shares
