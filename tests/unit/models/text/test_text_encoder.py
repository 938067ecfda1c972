import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dinotxt.errors import ConfigError
from dinotxt.models.config import PRESETS, TransformerTextConfig
from dinotxt.models.text.text_encoder import PackedTexts, TextEncoder

TINY = TransformerTextConfig(width=32, layers=2, heads=2, vocab_size=100)


def test_padding_changes_no_feature() -> None:
    encoder = TextEncoder(TINY, 16).eval()
    lengths = torch.tensor([3, 77, 9, 3, 1])
    ids = torch.randint(1, 100, (5, 77))
    together = encoder(ids, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(ids[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-6)


def test_packed_features_equal_a_dense_reference_with_a_causal_mask() -> None:
    encoder = TextEncoder(TINY, 16).eval()
    ids, lengths = torch.randint(1, 100, (4, 12)), torch.tensor([5, 12, 7, 5])
    hidden = encoder.token_embedding(ids) + encoder.positional_embedding[:12]
    mask = torch.full((12, 12), float("-inf")).triu(1)
    for block in encoder.blocks:
        parts = block.attention.qkv(block.attention_norm(hidden)).view(4, 12, 3, 2, 16)  # type: ignore[union-attr,operator]
        query, key, value = parts.unbind(2)
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / 4 + mask
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value).reshape(4, 12, 32)
        hidden = hidden + block.attention.proj(mixed)  # type: ignore[union-attr,operator]
        hidden = hidden + block.feed_forward(block.ffn_norm(hidden))  # type: ignore[operator]
    last = encoder.ln_final(hidden)[torch.arange(4), lengths - 1]
    torch.testing.assert_close(
        encoder(ids, lengths), encoder.projection(last), rtol=1e-5, atol=1e-6
    )


def test_initial_weights_follow_the_released_code() -> None:
    config = TransformerTextConfig(width=256, layers=4, heads=4, vocab_size=2000)
    state = TextEncoder(config, 512).state_dict()
    stds = {
        "token_embedding.weight": 0.02,
        "positional_embedding": 0.01,
        "blocks.1.attention.qkv.weight": 256**-0.5,
        "blocks.1.attention.proj.weight": 256**-0.5 * 8**-0.5,
        "blocks.1.feed_forward.fc1.weight": 512**-0.5,
        "blocks.1.feed_forward.fc2.weight": 256**-0.5 * 8**-0.5,
        "projection.weight": 256**-0.5,
    }
    for name, std in stds.items():
        assert state[name].std().item() == pytest.approx(std, rel=0.03)
    assert not state["blocks.0.attention.proj.bias"].any()
    assert state["blocks.0.feed_forward.fc1.bias"].any()


@pytest.mark.parametrize(("preset", "parameters"), [("base", 124_605_696), ("large", 538_131_200)])
def test_presets_have_the_published_number_of_parameters(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        encoder = TextEncoder(PRESETS[preset], 2048)
    assert sum(value.numel() for value in encoder.parameters()) == parameters


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"text_encoder\.heads"):
        TextEncoder(TransformerTextConfig(width=30, heads=4, vocab_size=10), 16)


def test_padding_is_not_computed() -> None:
    config = TransformerTextConfig(width=128, layers=2, heads=2, vocab_size=1000)
    encoder = TextEncoder(config, 64).eval()
    ids, lengths = torch.randint(1, 1000, (64, 77)), torch.randint(8, 20, (64,))

    def flops(of: torch.Tensor) -> int:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            encoder(ids, of)
        return int(counter.get_total_flops())

    share = int(lengths.sum()) / (64 * 77)
    assert flops(lengths) <= 1.05 * share * flops(torch.full((64,), 77))


def test_only_real_tokens_are_packed_and_texts_of_equal_length_are_neighbours() -> None:
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 0], [9, 0, 0, 0]])
    texts = PackedTexts.from_batch(ids, torch.tensor([3, 2, 3, 1]))
    assert texts.ids.tolist() == [9, 4, 5, 1, 2, 3, 6, 7, 8]
    assert texts.positions.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2]
    assert texts.groups == ((1, 1), (1, 2), (2, 3))


def test_the_last_tokens_come_in_the_order_of_the_batch() -> None:
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 0], [9, 0, 0, 0]])
    texts = PackedTexts.from_batch(ids, torch.tensor([3, 2, 3, 1]))
    row = texts.ids.unsqueeze(1)
    assert texts.last(row).flatten().tolist() == [3, 5, 8, 9]


def test_a_function_runs_once_for_each_length() -> None:
    ids = torch.arange(12).view(3, 4)
    texts = PackedTexts.from_batch(ids, torch.tensor([4, 2, 4]))
    shapes = []

    def double(part: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(part.shape))
        return part * 2

    assert texts.apply(double, texts.ids.unsqueeze(1)).flatten().tolist() == [
        2 * value for value in (4, 5, 0, 1, 2, 3, 8, 9, 10, 11)
    ]
    assert shapes == [(1, 2, 1), (2, 4, 1)]
