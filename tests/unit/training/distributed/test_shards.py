from typing import Any

import pytest
import torch

from dinotxt.training.distributed.shards import cut_like, join, local, part_of, whole


@pytest.mark.parametrize("size", [1, 3])
def test_the_parts_of_a_state_hold_every_tensor_once_and_join_to_the_whole(size: int) -> None:
    tensors = {number: torch.full((number + 1,), float(number)) for number in range(5)}
    state: dict[str, Any] = {"step": 3, "none": {}, "state": tensors, "groups": [{"lr": 0.1}]}
    parts = [part_of(state, rank, size) for rank in range(size)]
    assert sum(len(part["state"]) for part in parts) == 5
    assert max(sum(map(len, part["state"].values())) for part in parts) <= 15 / size + 5
    torch.testing.assert_close(join(parts), state)


def test_a_part_is_a_copy() -> None:
    live = torch.zeros(3)
    part = part_of({"weight": live}, 0, 1)
    live.add_(1)
    assert part["weight"].tolist() == [0, 0, 0]


def test_what_is_not_cut_is_the_same_tensor() -> None:
    tensor = torch.ones(2)
    assert local(tensor) is whole(tensor) is cut_like(tensor, tensor) is tensor
