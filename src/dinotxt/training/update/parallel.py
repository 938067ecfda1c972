"""The trained towers over several processes: copies (DDP) or shards (FSDP2).

Every process gives the gradient of the whole loss times the number of processes, and gradients
are averaged, so that they come out as one process alone would find them.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import ComputeConfig
from dinotxt.training.distributed import World, large_tables, whole
from dinotxt.training.update.towers import TrainedTowers

_BUCKET_MB = 8  # the last one travels when nothing is left to compute


def parallelize(towers: TrainedTowers, config: ComputeConfig, world: World) -> nn.Module:
    """Return the towers as the processes share them; ``Gradients`` averages those of copies."""
    if world.control is None:
        return towers
    if config.parallel == "fsdp":
        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in towers.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(towers, mesh=mesh)
        return towers
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
        towers, [f"{name}.weight" for name in large_tables(towers)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer releases rename broadcast_buffers
        return DistributedDataParallel(
            towers,
            broadcast_buffers=False,
            find_unused_parameters=towers.backbone is not None,
            gradient_as_bucket_view=True,
            bucket_cap_mb=_BUCKET_MB,
        )


def accumulating(towers: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which gradients stay in the process, for all backward passes but one."""
    if isinstance(towers, DistributedDataParallel):
        return towers.no_sync()
    return nullcontext()


class WholeModel:
    """A second, plain form of a model whose weights are sharded: to measure and to save.

    Its trained weights take memory only within ``filled``.

    Args:
        model: The model, not yet sharded.
    """

    def __init__(self, model: DinoTxt) -> None:
        kept: dict[int, object] = {id(model.backbone): model.backbone}
        if not model.backbone.config.frozen:
            kept = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                kept.setdefault(id(parameter), nn.Parameter(_empty(parameter)))
            else:
                kept[id(parameter)] = parameter
        self._model = copy.deepcopy(model, kept)

    @contextmanager
    def filled(self, model: DinoTxt) -> Iterator[DinoTxt]:
        """Give the plain model with the weights of all processes, in eval mode."""
        weights = {name: whole(value) for name, value in model.trainable_state_dict().items()}
        self._take(weights, lambda value: value)
        try:
            yield self._model.eval()
        finally:
            self._take(weights, _empty)

    def _take(self, weights: dict[str, Tensor], change: Callable[[Tensor], Tensor]) -> None:
        state = {name: change(value.detach()) for name, value in weights.items()}
        self._model.load_state_dict(state, strict=False, assign=True)


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")
