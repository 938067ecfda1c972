import pytest
import torch

from dinotxt.errors import ConfigError
from dinotxt.models.vision.tokens import Tokens, join_maps


def test_a_sequence_splits_into_cls_registers_and_patches() -> None:
    sequence = torch.arange(2 * 9 * 3.0).view(2, 9, 3)
    tokens = Tokens.from_sequence(sequence, (2, 3), num_prefix=3, has_cls=True)
    assert torch.equal(tokens.cls, sequence[:, 0])
    assert torch.equal(tokens.registers, sequence[:, 1:3])
    assert torch.equal(tokens.patches, sequence[:, 3:])
    assert torch.equal(tokens.sequence(), sequence)


def test_without_a_cls_token_the_average_of_the_patches_takes_its_place() -> None:
    sequence = torch.randn(2, 8, 3)
    tokens = Tokens.from_sequence(sequence, (2, 3), num_prefix=2, has_cls=False)
    assert torch.equal(tokens.cls, sequence[:, 2:].mean(dim=1))
    assert tokens.registers.shape == (2, 2, 3)


def test_a_sequence_of_another_length_is_an_error_that_names_both_counts() -> None:
    with pytest.raises(ConfigError, match="gives 8 tokens, but 1 prefix"):
        Tokens.from_sequence(torch.randn(1, 8, 3), (2, 3), num_prefix=1, has_cls=True)


def test_a_map_becomes_patches_in_row_major_order() -> None:
    features = torch.randn(2, 5, 3, 4)
    tokens = Tokens.from_map(features)
    assert tokens.grid == (3, 4)
    assert torch.equal(tokens.patch_map()[:, 1, 2], features[:, :, 1, 2])
    torch.testing.assert_close(tokens.cls, features.mean(dim=(2, 3)))
    assert tokens.registers.shape == (2, 0, 5)


def test_maps_join_on_the_finest_grid() -> None:
    fine, coarse = torch.randn(1, 2, 4, 6), torch.ones(1, 3, 2, 3)
    joined = join_maps([fine, coarse])
    assert torch.equal(joined[:, :2], fine)
    assert torch.equal(joined[:, 2:], torch.ones(1, 3, 4, 6))
