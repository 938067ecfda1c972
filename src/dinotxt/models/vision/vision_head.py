"""The vision head psi and the pooling sigma of dino.txt (paper, section 3.2)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import VisionHeadConfig, cls_width
from dinotxt.models.vision.blocks import VisionBlock
from dinotxt.models.vision.drop_path import SubsetDraw
from dinotxt.models.vision.input_norm import RawCls, Standardize, drop_channels
from dinotxt.models.vision.tokens import Tokens

_HEAD_WIDTH = 64
_INIT_STD = 0.02
_NORM_EPS = 1e-5


class VisionHead(nn.Module):
    """Trainable blocks on the backbone's tokens, then a pooling.

    With no blocks and no ``dim`` the tokens pass unchanged and there is nothing to train; the
    final norm belongs to the blocks.

    Args:
        config: The head's configuration.
        in_dim: Width of the backbone's tokens.

    Raises:
        ConfigError: If the options do not go together.
    """

    def __init__(self, config: VisionHeadConfig, in_dim: int) -> None:
        super().__init__()
        self.config = config
        dim = config.dim or in_dim
        num_heads = config.num_heads or max(dim // _HEAD_WIDTH, 1)
        _check(config, dim, num_heads)
        self.dim = dim
        self._in_dim = in_dim
        self.input_norm = _input_norm(config.input_norm, in_dim)
        self.input_projection = None if config.dim is None else nn.Linear(in_dim, dim)
        self.blocks = nn.ModuleList(
            VisionBlock(dim, num_heads, drop_path=config.drop_path, index=index)
            for index in range(config.num_blocks)
        )
        self.ln_final = nn.LayerNorm(dim, eps=_NORM_EPS) if config.num_blocks else nn.Identity()
        self.cls_projection = None
        if config.cls_projection is not None:
            self.cls_projection = nn.Linear(dim, config.cls_projection)
        self.raw_cls = None if config.raw_cls is None else RawCls(config.raw_cls, in_dim)
        self.apply(_init_linear)

    @property
    def cls_dim(self) -> int:
        """Width of the first half of the pooled feature; 0: it has no halves."""
        return cls_width(self.config, self.dim, self._in_dim)

    @property
    def embed_dim(self) -> int:
        """Width E of the pooled image feature."""
        return self.config.cls_projection or self.cls_dim + self.dim

    def forward(self, tokens: Tokens, *, draw: SubsetDraw | None = None) -> Tokens:
        """Return the head's tokens; ``draw`` fixes the drop path of a training step."""
        tokens = self.seen(tokens, draw)
        if self._is_identity():
            return self._registers(tokens)
        sequence = self._input(tokens)
        for block in self.blocks:
            sequence = block(sequence, draw)
        return self._output(sequence, tokens)

    def seen(self, tokens: Tokens, draw: SubsetDraw | None) -> Tokens:
        """Return the backbone's tokens without the patches that a training step drops."""
        if not (self.training and self.config.patch_dropout and draw is not None):
            return tokens
        return tokens.keep(draw.kept_patches(tokens.patches.shape[1], self.config.patch_dropout))

    def values(self, tokens: Tokens) -> Tokens:
        """Return the head's tokens with the last block's values for its attention (MaskCLIP)."""
        if not self.blocks:
            return self.forward(tokens)
        sequence = self._input(tokens)
        *body, last = self.blocks
        for block in body:
            sequence = block(sequence)
        assert isinstance(last, VisionBlock)
        return self._output(last.values(sequence), tokens)

    def pool(self, tokens: Tokens) -> Tensor:
        """Pool the head's tokens into image features [B, E] (paper, Table 2)."""
        kind = self.config.pooling
        if kind == "cls":
            return tokens.cls if self.cls_projection is None else self.cls_projection(tokens.cls)
        average = kind in {"avg", "cls_avg"}
        patches = tokens.patches.mean(dim=1) if average else tokens.patches.amax(dim=1)
        return torch.cat([tokens.cls, patches], dim=-1) if kind.startswith("cls_") else patches

    def _is_identity(self) -> bool:
        config = self.config
        is_plain = config.input_norm == "none" and config.input_dropout == 0
        is_plain = is_plain and config.raw_cls is None
        return is_plain and config.dim is None and config.num_blocks == 0

    def _registers(self, tokens: Tokens) -> Tokens:
        if self.config.registers == "through":
            return tokens
        return Tokens(tokens.cls, tokens.registers[:, :0], tokens.patches, tokens.grid)

    def _input(self, tokens: Tokens) -> Tensor:
        sequence = self._registers(tokens).sequence()
        if self.training and self.config.input_dropout:
            sequence = drop_channels(sequence, self.config.input_dropout)
        normed: Tensor = self.input_norm(sequence)
        if self.input_projection is None:
            return normed
        return self.input_projection(normed)  # type: ignore[no-any-return]

    def _output(self, sequence: Tensor, tokens: Tokens) -> Tokens:
        num_prefix = sequence.shape[1] - tokens.patches.shape[1]
        sequence = self.ln_final(sequence)
        given = Tokens.from_sequence(sequence, tokens.grid, num_prefix=num_prefix, has_cls=True)
        return given if self.raw_cls is None else replace(given, cls=self.raw_cls(tokens.cls))


def _check(config: VisionHeadConfig, dim: int, num_heads: int) -> None:
    if config.num_blocks and dim % num_heads:
        message = f"vision_head.num_heads: {num_heads} heads do not divide the width {dim}."
        raise ConfigError(message)
    if config.raw_cls is not None and not config.pooling.startswith("cls_"):
        raise ConfigError("vision_head.raw_cls needs `pooling: cls_avg` or `cls_max`.")
    if config.cls_projection is not None and (config.pooling != "cls" or config.num_blocks):
        message = "vision_head.cls_projection needs `pooling: cls` and `num_blocks: 0`."
        raise ConfigError(message)


def _input_norm(kind: str, dim: int) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(dim, eps=_NORM_EPS)
    return Standardize(dim) if kind == "standard" else nn.Identity()


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
