"""The vision backbone: any network that gives patch tokens (paper, section 3.1)."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.folding import fold_batch_norms
from dinotxt.models.vision.fused_block import fuse_blocks
from dinotxt.models.vision.layout import Layout, find_layout, own_patch, reraised
from dinotxt.models.vision.levels import Levels
from dinotxt.models.vision.sources import build_module
from dinotxt.models.vision.tokens import Tokens
from dinotxt.models.vision.values import has_values, without_last_attention
from dinotxt.models.weights import hash_tensors


class Backbone(nn.Module):
    """Turns pictures into tokens; frozen, it stays in eval mode and out of every state dict.

    Args:
        module: A module with timm's ``forward_features`` that gives final tokens [B, N, D], cls and
            registers before the patches, or a final map [B, D, h, w] or [B, h, w, D]. What it gives
            is found by trying it, see ``find_layout``.
        config: The configuration it was built from.

    Raises:
        ConfigError: If it gives neither.
    """

    def __init__(self, module: Any, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.module = module
        self._levels = Levels(module, config.levels) if config.levels else None
        self._norms_after_pooling = _norms_after_pooling(module)
        self.layout = self._tried()
        self.width, self.patch_size = self.layout.width, self.layout.stride
        self.num_registers = self.layout.num_prefix - int(self.layout.has_cls)
        self._needs_division = own_patch(module) == self.patch_size and not self._levels
        self._has_batch_norms = any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        self._hash: str | None = None
        if config.frozen:
            self._freeze()

    @classmethod
    def from_config(cls, config: BackboneConfig, *, trust_code: bool = False) -> "Backbone":
        """Build the backbone with its weights; ``trust_code`` as in ``build_module``.

        Raises:
            ConfigError: If a name or an option is wrong.
            CheckpointError: If the weights are missing or do not fit.
        """
        return cls(build_module(config, trust_code=trust_code), config)

    @property
    def has_values(self) -> bool:
        """Tell if there is a last attention whose values ``values`` can give."""
        return self._levels is None and has_values(self.module)

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the names and values of all weights, before batch norms were folded."""
        if self._hash is not None:
            return self._hash
        digest = hash_tensors(self.module.state_dict())
        if self.config.frozen:
            self._hash = digest
        return digest

    def forward(self, images: Tensor) -> Tokens:
        """Return the tokens of normalised pictures [B, C, H, W].

        Raises:
            ConfigError: If the patch does not divide the size of the pictures.
        """
        if not self.config.frozen:
            return self._tokens(images)
        with torch.no_grad():
            return self._tokens(images)

    def values(self, images: Tensor) -> Tokens:
        """Return tokens with the last block's values in place of its attention (MaskCLIP).

        A backbone without blocks of attention gives its usual tokens; see ``has_values``.
        """
        if not self.has_values:
            return self.forward(images)
        with nullcontext() if not self.config.frozen else torch.no_grad():
            return self._tokens(images, without_last_attention(self.module))

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; a frozen backbone stays in eval mode."""
        return super().train(mode and not self.config.frozen)

    def _tokens(self, images: Tensor, module: Any = None) -> Tokens:
        module = module or self.module
        if self._has_batch_norms:
            images = images.contiguous(memory_format=torch.channels_last)
        if self._needs_division:
            _check_size(images, self.patch_size)
        size = (images.shape[-2], images.shape[-1])
        try:
            return self.layout.read(self._features(module, images), size)
        except Exception as error:
            said = reraised(error, self.config.name, size, self.layout)
            if said is None:
                raise
            raise said from None

    def _features(self, module: Any, images: Tensor) -> Any:
        if self._levels is not None:
            return self._levels.features(images)
        features = module.forward_features(images)
        if self._norms_after_pooling and features.ndim == 3:
            return self.module.fc_norm(features)
        return features

    def _tried(self) -> Layout:
        training = self.module.training
        self.module.eval()
        try:
            return find_layout(
                partial(self._features, self.module),
                self.module,
                self.config.name,
                self.config.in_channels,
            )
        finally:
            self.module.train(training)

    def _freeze(self) -> None:
        self.requires_grad_(False)
        self.eval()
        if self._has_batch_norms:
            self._hash = hash_tensors(self.module.state_dict())
            fold_batch_norms(self.module, self.config.in_channels)
        fuse_blocks(self.module)
        self.register_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_do_not_miss)  # type: ignore[no-untyped-call]


def _norms_after_pooling(module: Any) -> bool:
    """Tell if timm norms the pooled token alone; then the norm is applied to all tokens."""
    norms = [getattr(module, name, None) for name in ("norm", "fc_norm")]
    return isinstance(norms[0], nn.Identity) and isinstance(norms[1], nn.LayerNorm)


def _check_size(images: Tensor, patch_size: int) -> None:
    height, width = images.shape[-2:]
    if height % patch_size == 0 and width % patch_size == 0 and min(height, width) > 0:
        return
    lower = [max(side // patch_size, 1) * patch_size for side in (height, width)]
    upper = [-(-side // patch_size) * patch_size for side in (height, width)]
    message = (
        f"Pictures of {height}x{width} do not divide into patches of {patch_size}: the nearest"
        f" sizes are {lower[0]}x{lower[1]} and {upper[0]}x{upper[1]}."
    )
    raise ConfigError(message)


def _forget(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    """Leave the frozen weights out of a state dict."""
    for key in [key for key in state if key.startswith(prefix)]:
        del state[key]


def _do_not_miss(module: nn.Module, incompatible: Any) -> None:
    """Do not ask for the frozen weights when a state dict is loaded."""
    own = {name for name, _ in module.named_parameters()}
    own |= {name for name, _ in module.named_buffers()}
    missing = incompatible.missing_keys
    missing[:] = [key for key in missing if not any(key.endswith(name) for name in own)]
