"""What models have in common whose patches lie in the space of the whole feature: the baselines."""

from torch import Tensor, nn

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
