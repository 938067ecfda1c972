"""MaskCLIP on every kind of image tower that open_clip has, at any size and aspect.

The last attention of a tower gives each patch its own value; what follows it (projections, norms,
poolings) is applied to each patch as if the picture had no other. For towers that pool by an
attention (SigLIP, CoCa, ResNets) that one is the last; the blocks before it stay whole. Towers
without attention give their final map through their head.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.vision import has_values, resample, stages, without_last_attention

_MOST_SIZES = 16
Size = tuple[int, int]


class SizedTowers:
    """Copies of a tower for inputs of other sizes, which share its weights.

    Args:
        visual: The tower.
        size: Height and width of the inputs that it was made for.
        fit: Changes a copy so that it takes another size.
    """

    def __init__(self, visual: Any, size: Size, fit: Callable[[Any, Size], None]) -> None:
        self._visual, self._size, self._fit = visual, size, fit
        self._copies: dict[Size, Any] = {}

    def __call__(self, images: Tensor) -> Any:
        """Return the tower for pictures [B, 3, H, W].

        Raises:
            ConfigError: If the tower takes no such size.
        """
        size = (images.shape[-2], images.shape[-1])
        if size == self._size:
            return self._visual
        if size not in self._copies:
            if len(self._copies) >= _MOST_SIZES:
                self._copies.clear()
            self._copies[size] = self._copy(size)
        return self._copies[size]

    def _copy(self, size: Size) -> Any:
        tensors = [*self._visual.parameters(), *self._visual.buffers()]
        twin = copy.deepcopy(self._visual, {id(tensor): tensor for tensor in tensors})
        self._fit(twin, size)
        return twin


class NativeTower:
    """open_clip's own vision transformer."""

    def __init__(self, visual: Any) -> None:
        self.patch_size = int(visual.patch_size[0])
        self._at = SizedTowers(visual, _pair(visual.image_size), self._fit)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return image features [B, E]."""
        return _first(self._at(images)(images))

    def encode_patches(self, images: Tensor) -> Tensor:
        """Return MaskCLIP's patch features [B, h, w, E]."""
        visual = self._at(images)
        transformer = visual.transformer
        if visual.attn_pool is None:
            transformer = without_last_attention(transformer, "resblocks")
        patches = transformer(visual._embeds(images))[:, 1:]
        if visual.attn_pool is None:
            features = visual.ln_post(patches)
        else:
            features = _attention_pooled(visual, patches)
        height, width = images.shape[-2:]
        grid = (height // self.patch_size, width // self.patch_size)
        return (features @ visual.proj).unflatten(1, grid)  # type: ignore[no-any-return]

    def _fit(self, visual: Any, size: Size) -> None:
        grid = (size[0] // self.patch_size, size[1] // self.patch_size)
        visual.positional_embedding = _resampled(
            visual.positional_embedding, tuple(visual.grid_size), grid
        )
        visual.grid_size, visual.image_size = grid, size


class ResNetTower:
    """CLIP's residual network with an attention that pools its map."""

    patch_size = 32

    def __init__(self, visual: Any) -> None:
        self._visual = visual
        self._at = SizedTowers(visual, _pair(visual.image_size), self._fit)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return image features [B, E]."""
        return _first(self._at(images)(images))

    def encode_patches(self, images: Tensor) -> Tensor:
        """Return MaskCLIP's patch features [B, h, w, E]: the pooling's values without positions."""
        visual = self._visual
        features = visual.stem(images)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            features = layer(features)
        pool = visual.attnpool
        return pool.c_proj(pool.v_proj(features.permute(0, 2, 3, 1)))  # type: ignore[no-any-return]

    def _fit(self, visual: Any, size: Size) -> None:
        trained = _pair(visual.image_size)
        before, after = (
            (height // self.patch_size, width // self.patch_size)
            for height, width in (trained, size)
        )
        pool = visual.attnpool
        pool.positional_embedding = _resampled(pool.positional_embedding, before, after)
        visual.image_size = size


class TimmTower:
    """A network of timm under open_clip's projection: EVA-02, SigLIP, ConvNeXt, MobileCLIP, ..."""

    def __init__(self, visual: Any) -> None:
        trunk = visual.trunk
        self.patch_size = int(stages(trunk)[-1]["reduction"])
        self._at = SizedTowers(visual, _pair(visual.image_size), _fit_trunk)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return image features [B, E]."""
        visual = self._at(images)
        return self._run(visual, images)  # type: ignore[no-any-return]

    def encode_patches(self, images: Tensor) -> Tensor:
        """Return MaskCLIP's patch features [B, h, w, E]."""
        visual = self._at(images)
        trunk = visual.trunk
        if getattr(trunk, "attn_pool", None) is None and has_values(trunk):
            trunk = without_last_attention(trunk)
        features = self._run(trunk.forward_features, images)
        if features.ndim == 4:
            return _each_place(visual, features)
        num_prefix = trunk.num_prefix_tokens
        patches = features[:, num_prefix:]
        # The head takes a sequence: every token in it is the same patch, so its pooling changes
        # nothing, be it the first token, an average or an attention.
        alone = patches.flatten(0, 1).unsqueeze(1).expand(-1, 1 + num_prefix, -1)
        out = visual.head(visual.trunk.forward_head(alone))
        height, width = images.shape[-2:]
        grid = (height // self.patch_size, width // self.patch_size)
        return out.unflatten(0, (len(images), *grid))  # type: ignore[no-any-return]

    def _run(self, module: Callable[[Tensor], Any], images: Tensor) -> Any:
        try:
            return module(images)
        except AssertionError as error:
            message = f"open_clip's tower takes no {images.shape[-1]}x{images.shape[-2]} pictures"
            raise ConfigError(f"{message} ({error}): leave --size out.") from None


def _each_place(visual: Any, features: Tensor) -> Tensor:
    """Apply a network's head to each place of its map: [B, h, w, E]."""
    trunk = visual.trunk
    if getattr(trunk, "output_fmt", "NCHW") == "NCHW":
        features = features.permute(0, 2, 3, 1)
    alone = features.flatten(0, 2)[:, None, None]
    if getattr(trunk, "output_fmt", "NCHW") == "NCHW":
        alone = alone.permute(0, 3, 1, 2)
    out = visual.head(trunk.forward_head(alone))
    return out.unflatten(0, features.shape[:3])  # type: ignore[no-any-return]


def _attention_pooled(visual: Any, patches: Tensor) -> Tensor:
    """Return the values [B, N, D] of the attention that pools a CoCa model's tokens."""
    if visual.attn_pool_contrastive is None:
        return visual.ln_post(_pooler_values(visual.attn_pool, patches))  # type: ignore[no-any-return]
    patches = visual.ln_post(patches)
    if visual.attn_pool_type == "cascade":
        patches = _pooler_values(visual.attn_pool, patches)
    return _pooler_values(visual.attn_pool_contrastive, patches)


def _pooler_values(pooler: Any, tokens: Tensor) -> Tensor:
    """Return what a pooler gives for each token alone, whatever its query."""
    attention, width = pooler.attn, pooler.attn.embed_dim
    weight = attention.v_proj_weight
    if weight is None:
        weight = attention.in_proj_weight[2 * width :]
    value = nn.functional.linear(pooler.ln_k(tokens), weight, attention.in_proj_bias[2 * width :])
    return attention.out_proj(value)  # type: ignore[no-any-return]


def _fit_trunk(visual: Any, size: Size) -> None:
    if hasattr(visual.trunk, "set_input_size"):
        visual.set_input_size(size)


def _resampled(embedding: Tensor, before: Size, after: Size) -> nn.Parameter:
    """Resample a position embedding [1 + H*W, D], the cls token's first."""
    patches = resample(embedding[None, 1:].detach(), before, after, offset_rule=False)[0]
    whole = embedding.new_empty(1 + len(patches), embedding.shape[1])
    whole[0], whole[1:] = embedding[0].detach(), patches
    return nn.Parameter(whole, requires_grad=False)


def _first(output: Any) -> Tensor:
    """Return the pooled feature of a tower that may give its tokens beside it."""
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]


def _pair(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
