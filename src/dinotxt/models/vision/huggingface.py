"""Hugging Face models behind the interfaces that the towers need; transformers loads lazily."""

import inspect
from typing import Any

from torch import Tensor, nn

from dinotxt.errors import CheckpointError, import_extra


def load_auto_model(name: str) -> Any:
    """Load a model with ``transformers.AutoModel``, without a progress bar.

    Args:
        name: A folder, or a name on the Hugging Face hub.

    Raises:
        CheckpointError: If the folder or the name has no usable model.
    """
    transformers = import_extra("transformers", extra="text")
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return transformers.AutoModel.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # a damaged folder makes the library fail in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"{name} is no usable Hugging Face model ({reason}): give the model's folder."
        raise CheckpointError(message) from None
    finally:
        if shown:
            logging.enable_progress_bar()


class HuggingFaceVision(nn.Module):
    """A Hugging Face vision model with timm's ``forward_features`` and attributes.

    Args:
        name: The model's folder or its name on the hub.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        model = load_auto_model(name)
        self.model = getattr(model, "vision_model", model)
        config = self.model.config
        sizes = getattr(config, "hidden_sizes", None)
        self.num_features: int = sizes[-1] if sizes else config.hidden_size
        patch_size = getattr(config, "patch_size", None)
        self.patch_size: int = 32 if sizes or patch_size is None else patch_size
        self.num_prefix_tokens = 1 + getattr(config, "num_register_tokens", 0)
        if config.model_type.startswith("siglip"):
            self.num_prefix_tokens = 0
        parameters = inspect.signature(self.model.forward).parameters
        self._options = {}
        if "interpolate_pos_encoding" in parameters:
            self._options["interpolate_pos_encoding"] = True

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the final tokens [B, N, D], or the final map [B, D, h, w]."""
        output = self.model(pixel_values=images, **self._options)
        return output.last_hidden_state  # type: ignore[no-any-return]
