import pytest
import timm
import torch
from torch import Tensor, nn

from dinotxt.models.vision.folding import fold_batch_norms


@pytest.mark.parametrize(
    ("name", "left"), [("resnet18", 0), ("tf_efficientnet_lite0", 0), ("resnetv2_18", 9)]
)
def test_folding_keeps_features_and_removes_norms_after_convolutions(name: str, left: int) -> None:
    module = timm.create_model(name, num_classes=0).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = module.forward_features(images)
        assert fold_batch_norms(module, 3)
        error = (module.forward_features(images) - expected).abs().max() / expected.abs().max()
    assert error.item() < 1e-4
    assert sum(isinstance(part, nn.BatchNorm2d) for part in module.modules()) == left


class NormBesideConvolution(nn.Module):
    """The norm is registered after the convolution but applied to something else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_var, 4)  # type: ignore[arg-type]

    def forward_features(self, images: Tensor) -> Tensor:
        """Return a sum of both."""
        return self.conv(images) + self.norm(images)  # type: ignore[no-any-return]


def test_a_network_that_folding_would_change_is_left_as_it_was() -> None:
    module = NormBesideConvolution().eval()
    images = torch.randn(1, 3, 8, 8)
    expected = module.forward_features(images)
    assert not fold_batch_norms(module, 3)
    assert torch.equal(module.forward_features(images), expected)
