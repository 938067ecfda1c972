import torch
from torch import nn

from dinotxt.models.text.lora import LowRankLinear, add_low_rank_updates


def test_an_update_starts_at_zero_and_changes_the_layer_by_its_product() -> None:
    base = nn.Linear(6, 4)
    layer = LowRankLinear(base, rank=2, alpha=8)
    inputs = torch.randn(3, 6)
    torch.testing.assert_close(layer(inputs), base(inputs))
    nn.init.normal_(layer.up)
    merged = base.weight + 4 * layer.up @ layer.down
    torch.testing.assert_close(layer(inputs), nn.functional.linear(inputs, merged, base.bias))


def test_only_the_small_matrices_train() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.GELU(), nn.Linear(4, 2)))
    add_low_rank_updates(network, rank=1, alpha=1)
    names = {name for name, value in network.named_parameters() if value.requires_grad}
    assert names == {"0.down", "0.up", "1.1.down", "1.1.up"}
