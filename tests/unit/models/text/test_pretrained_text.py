from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dinotxt.errors import ConfigError
from dinotxt.models.config import PretrainedTextConfig
from dinotxt.models.text.pretrained_text import PretrainedTextEncoder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(config).save_pretrained(path)
    return str(path)


def batch(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(1, 50, (count, 12)), torch.randint(1, 13, (count,))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_features_do_not_depend_on_padding_or_company(folder: str, pooling: str) -> None:
    config = PretrainedTextConfig(name=folder, pooling=pooling)  # type: ignore[arg-type]
    encoder = PretrainedTextEncoder(config, 16)
    ids, lengths = batch(100)
    together = encoder(ids, lengths)
    assert together.shape == (100, 16)
    for row in (0, 57, 99):
        length = int(lengths[row])
        alone = encoder(ids[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)


def test_the_mean_is_over_real_tokens(folder: str) -> None:
    encoder = PretrainedTextEncoder(PretrainedTextConfig(name=folder), 16)
    ids = torch.randint(1, 50, (1, 7))
    tokens = encoder.encoder(input_ids=ids[:, :4]).last_hidden_state
    expected = encoder.projection(tokens.mean(dim=1))
    torch.testing.assert_close(encoder(ids, torch.tensor([4])), expected)


def test_lengths_are_read_off_ids_that_end_in_padding(folder: str) -> None:
    encoder = PretrainedTextEncoder(PretrainedTextConfig(name=folder), 16)
    ids = torch.tensor([[5, 0, 7, 0, 0], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0]])
    assert encoder.real_lengths(ids).tolist() == [3, 5, 1]
    roberta = SimpleNamespace(encoder=SimpleNamespace(config=SimpleNamespace(pad_token_id=9)))
    lengths = PretrainedTextEncoder.real_lengths(roberta, ids)  # type: ignore[arg-type]
    assert lengths.tolist() == [5, 4, 5]


def test_the_encoder_is_frozen_and_stays_in_eval(folder: str) -> None:
    encoder = PretrainedTextEncoder(PretrainedTextConfig(name=folder), 16).train()
    assert not any(module.training for module in encoder.encoder.modules())
    assert encoder.projection.training
    trained = {name for name, value in encoder.named_parameters() if value.requires_grad}
    assert trained == {"projection.weight", "projection.bias"}


def test_the_last_layers_can_be_tuned_whole(folder: str) -> None:
    config = PretrainedTextConfig(name=folder, trainable_layers=1)
    encoder = PretrainedTextEncoder(config, 16)
    trained = [name for name, value in encoder.encoder.named_parameters() if value.requires_grad]
    assert trained
    assert all(name.startswith("encoder.layer.2.") for name in trained)
    with pytest.raises(ConfigError, match="only 3 layers"):
        PretrainedTextEncoder(replace(config, trainable_layers=4), 16)


def test_dropout_is_for_the_hidden_states_of_tuned_layers_in_training(folder: str) -> None:
    config = PretrainedTextConfig(name=folder, trainable_layers=1, dropout=0.5)
    encoder = PretrainedTextEncoder(config, 16)
    ids, lengths = batch()
    plain = encoder.eval()(ids, lengths)
    encoder.train()
    assert not torch.allclose(encoder(ids, lengths), plain)
    layers = encoder.encoder.encoder["layer"]
    assert [layer.training for layer in layers] == [False, False, True]
    rates = {part.p for part in layers[2].modules() if isinstance(part, torch.nn.Dropout)}
    assert rates == {0.5}


def test_the_cls_half_has_a_projection_of_its_own_that_leaves_the_encoder_alone(
    folder: str,
) -> None:
    config = PretrainedTextConfig(name=folder, trainable_layers=1, cls_hidden=8)
    encoder = PretrainedTextEncoder(config, 16, cls_dim=10)
    features = encoder(*batch())
    assert features.shape == (5, 16)
    features[:, :10].sum().backward()
    named = encoder.named_parameters()
    moved = {name for name, value in named if value.grad is not None and value.grad.any()}
    assert moved
    assert all(name.startswith("cls_projection.") for name in moved)
    with pytest.raises(ConfigError, match="cls_hidden needs pooling"):
        PretrainedTextEncoder(config, 16)
