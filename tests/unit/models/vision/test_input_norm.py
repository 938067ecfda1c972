import torch

from dinotxt.models.vision.input_norm import Standardize, drop_channels


def test_statistics_give_tokens_of_mean_0_and_deviation_1() -> None:
    tokens = torch.randn(500, 8) * 3 + 2
    norm = Standardize(8)
    assert torch.equal(norm(tokens), tokens)
    norm.set_statistics(tokens.mean(dim=0), tokens.std(dim=0))
    torch.testing.assert_close(norm(tokens).mean(dim=0), torch.zeros(8), rtol=0, atol=1e-5)
    torch.testing.assert_close(norm(tokens).std(dim=0), torch.ones(8))


def test_a_constant_channel_does_not_explode() -> None:
    norm = Standardize(2)
    norm.set_statistics(torch.ones(2), torch.zeros(2))
    assert norm(torch.full((1, 2), 1.001)).abs().max() < 1.1


def test_all_tokens_of_a_picture_lose_the_same_channels() -> None:
    tokens = torch.ones(4, 5, 100)
    dropped = drop_channels(tokens, 0.5)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(dropped[0], dropped[1])
