"""Hugging Face models behind the interfaces that the towers need; transformers loads lazily."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import CheckpointError, import_extra

_STAGED = ("hidden_sizes", "depths", "embed_dims", "base_attn_unit_dims", "depth_multiplier")


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
    """A Hugging Face vision model with timm's ``forward_features``.

    All patches are seen: a model that hides some in training (MAE draws 75% of them anew at each
    call, transformers 5.24) hides none here. Tokens behind the patches (YOLOS) are left out.

    Args:
        name: The model's folder or its name on the hub.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        model = load_auto_model(name)
        self.model = getattr(model, "vision_model", model)
        config = self.model.config
        is_staged = any(getattr(config, key, None) for key in _STAGED)
        self.patch_size = None if is_staged else getattr(config, "patch_size", None)
        self.image_size = getattr(config, "image_size", None)
        self._num_behind = getattr(config, "num_detection_tokens", 0)
        self._takes = set(inspect.signature(self.model.forward).parameters)
        if "noise" in self._takes:
            config.mask_ratio = 0.0

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the final tokens [B, N, D], or the final map [B, D, h, w]."""
        output = self.model(**self._inputs(images)).last_hidden_state
        kept = output.shape[1] - self._num_behind
        return output[:, :kept] if self._num_behind else output  # type: ignore[no-any-return]

    def _inputs(self, images: Tensor) -> dict[str, Any]:
        if "spatial_shapes" in self._takes:
            return _cut(images, int(self.patch_size or 1))
        inputs: dict[str, Any] = {"pixel_values": images}
        if "interpolate_pos_encoding" in self._takes:
            inputs["interpolate_pos_encoding"] = True
        if "noise" in self._takes:  # patches are kept in the order of their noise
            sides = [side // int(self.patch_size or 1) for side in images.shape[-2:]]
            order = torch.arange(math.prod(sides), device=images.device, dtype=torch.float32)
            inputs["noise"] = order.expand(len(images), -1)
        return inputs


def _cut(images: Tensor, patch: int) -> dict[str, Any]:
    """Cut pictures into patches [B, h*w, patch * patch * C], as SigLIP 2 takes them."""
    batch, _, height, width = images.shape
    grid = (height // patch, width // patch)
    columns = torch.unflatten(images, 3, (grid[1], patch))
    cells = torch.unflatten(columns, 2, (grid[0], patch))
    patches = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    shapes = torch.tensor([grid] * batch, device=images.device)
    mask = torch.ones(batch, math.prod(grid), dtype=torch.int64, device=images.device)
    return {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": shapes}
