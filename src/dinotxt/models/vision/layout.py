"""What a network gives for a picture, found by a forward pass: it is not asked, it is tried.

Attributes of a network (its patch, its prefix tokens) are hints that choose the picture to try and
settle what one picture leaves open. A picture that is not square tells rows from columns and
channels; where the network takes none, it is tried at the size that it was made for.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dinotxt.errors import ConfigError
from dinotxt.models.vision.levels import stages
from dinotxt.models.vision.tokens import Tokens

Size = tuple[int, int]

_MOST_PREFIX_TOKENS = 16
_FEWEST_PATCHES = 4
_ANY_PATCH = 112  # 7, 8, 14, 16, 28 and 56 divide it
_SMALL_PATCH, _STRIDE_OF_STAGES = 14, 32  # a smaller patch may be the first of several stages
_USUAL = 224
_ODD_SIZE = (AssertionError, RuntimeError, ValueError, TypeError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the output of a network is read.

    Attributes:
        order: ``tokens`` [B, N, D], ``map`` [B, D, h, w] or ``map_last`` [B, h, w, D].
        width: D.
        stride: Pixels along one side of a patch.
        num_prefix: Tokens before the patches.
        has_cls: Whether the first of them stands for the picture; the others are registers.
        seen: Height and width of the picture that was tried.
    """

    order: Literal["tokens", "map", "map_last"]
    width: int
    stride: int
    num_prefix: int
    has_cls: bool
    seen: Size

    def read(self, output: Tensor, size: Size) -> Tokens:
        """Return the tokens of an output for pictures of ``size``.

        Raises:
            ConfigError: If there is not one token for each patch.
        """
        grid = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        if self.order != "tokens":
            features = output if self.order == "map" else output.permute(0, 3, 1, 2)
            found = features.shape[-2:]
            if any(abs(ours - theirs) > 1 for ours, theirs in zip(found, grid, strict=True)):
                message = f"a {found[0]}x{found[1]} map, not {grid[0]}x{grid[1]}"
                raise ConfigError(message)
            return Tokens.from_map(features)
        return Tokens.from_sequence(output, grid, num_prefix=self.num_prefix, has_cls=self.has_cls)


def find_layout(forward: Callable[[Tensor], Any], module: Any, name: str, channels: int) -> Layout:
    """Try a network on a small picture, and if that fails at the size it was made for.

    Args:
        forward: Gives its features for pictures [B, C, H, W].
        module: The network, for hints and its device; it should be in eval mode.
        name: What it is called, for errors.
        channels: C.

    Raises:
        ConfigError: If it gives neither a token a patch nor a map; the message says what it gives.
    """
    parameter = next(iter(module.parameters()), torch.empty(0))
    reasons = []
    for size in _sizes(module):
        pixels = torch.zeros(1, channels, *size, device=parameter.device, dtype=parameter.dtype)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.device(pixels.device):
                output = forward(pixels)
        except _ODD_SIZE as error:
            reasons.append(first_line(error))
            continue
        found = _layout_of(output, size, module)
        if found is not None:
            return found
        reasons.append(f"it gives {_described(output)} for a picture of {size[1]}x{size[0]}")
    message = (
        f"{name} is no backbone for patches ({reasons[-1]}): take a network whose features are"
    )
    raise ConfigError(f"{message} a token for each patch, or a map.")


def own_patch(module: Any) -> int | None:
    """Return the side of the patches that a network cuts pictures into, as it says itself."""
    for part in (module, getattr(module, "patch_embed", None), getattr(module, "embeds", None)):
        size = getattr(part, "patch_size", None)
        if isinstance(size, int):
            return size
        if isinstance(size, tuple | list) and size and isinstance(size[-1], int):
            return size[-1]
    return None


def native_size(module: Any) -> Size:
    """Return height and width of the pictures that a network was made for; 224 if it is silent."""
    published = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    for size in (
        getattr(getattr(module, "patch_embed", None), "img_size", None),
        getattr(module, "image_size", None),
        (published or {}).get("input_size"),
    ):
        if isinstance(size, int):
            return size, size
        if isinstance(size, tuple | list) and len(size) > 1:
            return int(size[-2]), int(size[-1])
    return _USUAL, _USUAL


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def reraised(error: BaseException, name: str, size: Size, layout: Layout) -> ConfigError | None:
    """Return what to say of an error at a size that was not tried; None: it is another matter."""
    is_odd = isinstance(error, (*_ODD_SIZE, ConfigError))
    if not is_odd or isinstance(error, torch.OutOfMemoryError) or size == layout.seen:
        return None
    height, width = layout.seen
    return ConfigError(
        f"{name} takes no pictures of {size[1]}x{size[0]} ({first_line(error)}): give {width}x"
        f"{height}, or set `backbone.options.img_size` where the network has it."
    )


def _sizes(module: Any) -> Iterator[Size]:
    step = max(_hints(module), default=_ANY_PATCH)
    if step < _SMALL_PATCH:
        step = _STRIDE_OF_STAGES if _STRIDE_OF_STAGES % step == 0 else 4 * step
    yield 2 * step, 3 * step
    yield native_size(module)


def _hints(module: Any) -> list[int]:
    """Return the strides that a network speaks of."""
    reductions = [stage.get("reduction") for stage in stages(module) if isinstance(stage, dict)]
    return [
        one for one in (own_patch(module), *reductions[-1:]) if isinstance(one, int) and one > 0
    ]


def _layout_of(output: Any, size: Size, module: Any) -> Layout | None:
    if not isinstance(output, Tensor) or len(output) != 1:
        return None
    if output.ndim == 4:
        return _layout_of_map(output, size, module)
    return _layout_of_sequence(output, size, module) if output.ndim == 3 else None


def _layout_of_map(output: Tensor, size: Size, module: Any) -> Layout | None:
    first, second, third = output.shape[1:]
    last = _stride_of((first, second), size, module)
    plain = _stride_of((second, third), size, module)
    if last and plain:  # as many channels as rows or columns
        is_last = getattr(module, "output_fmt", "NCHW") == "NHWC"
        last, plain = (last, None) if is_last else (None, plain)
    if plain:
        return Layout("map", first, plain, 0, False, size)
    return Layout("map_last", third, last, 0, False, size) if last else None


def _stride_of(grid: Size, size: Size, module: Any) -> int | None:
    """Return the stride that makes ``grid`` of pictures of ``size``, rounded up or down."""
    if math.prod(grid) < _FEWEST_PATCHES:
        return None
    for stride in (*_hints(module), round(size[0] / grid[0])):
        cells = zip(size, grid, strict=True)
        if stride and all(abs(side / stride - count) < 1 for side, count in cells):
            return stride
    return None


def _layout_of_sequence(output: Tensor, size: Size, module: Any) -> Layout | None:
    length, width = output.shape[1:]
    patch, said = own_patch(module), getattr(module, "num_prefix_tokens", None)
    fitting = [
        Layout("tokens", width, stride, prefix, _has_cls(module, prefix), size)
        for prefix in range(min(_MOST_PREFIX_TOKENS, length) + 1)
        if (stride := _side_of_patch(length - prefix, size, module))
    ]
    for accepts in (
        lambda one: (one.stride, one.num_prefix) == (patch, said),
        lambda one: one.num_prefix == said,
        lambda one: one.stride == patch,
        lambda one: one.num_prefix < 2,
    ):
        for one in fitting:
            if accepts(one):
                return one
    return None


def _side_of_patch(count: int, size: Size, module: Any) -> int | None:
    """Return the stride at which a picture has so many patches; None: there is no such grid."""
    if count < _FEWEST_PATCHES:
        return None
    for stride in (*_hints(module), round(math.sqrt(math.prod(size) / count))):
        if stride and math.prod(-(-side // stride) for side in size) == count:
            return stride
    return None


def _has_cls(module: Any, num_prefix: int) -> bool:
    """Tell if the first prefix token stands for the picture; NaFlexViT may have registers alone."""
    said = getattr(module, "has_class_token", None)
    if not isinstance(said, bool):
        said = getattr(module, "cls_token", module) is not None
    return said and num_prefix > 0


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"features of shape {list(output.shape)}"
    if isinstance(output, list | tuple):
        return f"{len(output)} outputs"
    return f"a {type(output).__name__}"
