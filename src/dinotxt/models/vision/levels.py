"""Several stages of a convolutional network as one map of features."""

from typing import Any

from torch import Tensor

from dinotxt.errors import ConfigError
from dinotxt.models.vision.tokens import join_maps


class Levels:
    """Maps of several stages, joined on the finest grid.

    The deepest stage, where it is listed, stands for the network's own output, with the layers
    that follow its last stage.

    Args:
        module: A network with timm's ``feature_info`` and ``forward_intermediates``.
        levels: Indices into ``feature_info``.

    Raises:
        ConfigError: If the network has no such stages.
    """

    def __init__(self, module: Any, levels: tuple[int, ...]) -> None:
        info = stages(module)
        if not hasattr(module, "forward_intermediates") or _is_flat(info):
            raise ConfigError("backbone.levels: this backbone has no stages of several sizes.")
        levels = tuple(sorted(set(levels)))
        if levels[0] < 0 or levels[-1] >= len(info):
            message = f"backbone.levels must lie in 0..{len(info) - 1}, got {list(levels)}."
            raise ConfigError(message)
        self._module = module
        self._with_final = levels[-1] == len(info) - 1
        self._indices = list(levels[:-1] if self._with_final else levels)

    def features(self, images: Tensor) -> Tensor:
        """Return the joined maps of pictures [B, C, H, W]: [B, sum of channels, h, w]."""
        if not self._indices:
            return self._module.forward_features(images)  # type: ignore[no-any-return]
        final, maps = self._module.forward_intermediates(images, indices=self._indices)
        return join_maps([*maps, final] if self._with_final else maps)


def stages(module: Any) -> list[Any]:
    """Return timm's description of a network's stages; empty where there is none."""
    info = getattr(module, "feature_info", [])
    return list(getattr(info, "info", info))


def _is_flat(info: list[Any]) -> bool:
    """Tell if all stages have one size, as the blocks of a vision transformer have."""
    return len({stage["reduction"] for stage in info}) < 2
