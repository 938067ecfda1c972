"""Tensors that are cut along their first dimension among processes, and states made of them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

_SHARD = "__shard__"
_ABSENT = object()


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds; it shares memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with the parts of all processes, each of which must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(value: Tensor, tensor: Tensor) -> Tensor:
    """Cut a whole tensor as another one of its shape is cut, on the same device."""
    if not isinstance(tensor, DTensor) or value.shape != tensor.shape:
        return value
    cut: Tensor = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    return cut


def part_of(state: Mapping[str, Any], rank: int, size: int) -> dict[str, Any]:
    """Return what one process writes of a state: a copy in main memory.

    Each writes its shards and a share of the tensors that all hold; the first one all the rest.
    """
    loads = [0] * size

    def take(node: Any) -> Any:
        if isinstance(node, Mapping):
            taken = {key: take(value) for key, value in node.items()}
            return {key: value for key, value in taken.items() if value is not _ABSENT}
        if isinstance(node, DTensor):
            return {_SHARD: _copy(node.to_local())}
        if not isinstance(node, Tensor):
            return node if rank == 0 else _ABSENT
        writer = loads.index(min(loads))
        loads[writer] += node.nbytes
        return _copy(node) if writer == rank else _ABSENT

    return cast("dict[str, Any]", take(state))


def join(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put together the parts of all processes, in their order."""
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: _joined([part[key] for part in parts if key in part]) for key in keys}


def _joined(nodes: Sequence[Any]) -> Any:
    if not isinstance(nodes[0], Mapping):
        return nodes[0]
    if _SHARD in nodes[0]:
        return torch.cat([node[_SHARD] for node in nodes])
    return join(nodes)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
