import pytest
import torch
import torch.nn.functional as F

from dinotxt.models.vision.blocks import Attention, SwiGLU, VisionBlock
from dinotxt.models.vision.drop_path import SubsetDraw


@pytest.mark.parametrize(("dim", "hidden"), [(1024, 2752), (64, 192), (384, 1024), (768, 2048)])
def test_the_gated_layer_is_as_wide_as_metas(dim: int, hidden: int) -> None:
    with torch.device("meta"):
        layer = SwiGLU(dim)
    assert layer.w1.weight.shape == layer.w2.weight.shape == (hidden, dim)
    assert layer.w3.weight.shape == (dim, hidden)


def test_attention_is_softmax_of_scaled_products() -> None:
    attention = Attention(8, 2)
    tokens = torch.randn(3, 5, 8)
    query, key, value = attention.qkv(tokens).view(3, 5, 3, 2, 4).unbind(2)
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(2).softmax(dim=-1)
    mixed = torch.einsum("bhqk,bkhd->bqhd", weights, value).reshape(3, 5, 8)
    torch.testing.assert_close(attention(tokens), attention.proj(mixed))


def test_values_are_what_attention_to_oneself_alone_gives() -> None:
    attention = Attention(8, 2)
    tokens = torch.randn(3, 1, 8)
    torch.testing.assert_close(attention.values(tokens), attention(tokens))


def test_the_block_starts_close_to_the_identity() -> None:
    block = VisionBlock(16, 2, drop_path=0.3, index=0).eval()
    tokens = torch.randn(2, 4, 16)
    difference = (block(tokens) - tokens).abs().max()
    assert 0 < difference < 1e-3
    assert block.norm1.eps == block.norm2.eps == 1e-5


def test_a_draw_decides_which_samples_take_a_branch() -> None:
    block = VisionBlock(16, 2, drop_path=0.5, index=0)
    draw = SubsetDraw(seed=0, step=0, global_batch=6, start=0, size=6)
    tokens = torch.randn(6, 4, 16)
    changed = (block(tokens, draw) != tokens).flatten(1).any(dim=1).nonzero().flatten().tolist()
    kept = {index for branch in (0, 1) for index in draw.kept(0, branch, 0.5)[0].tolist()}
    assert changed == sorted(kept)


def test_chunks_with_a_draw_give_what_the_whole_batch_gives() -> None:
    block = VisionBlock(16, 2, drop_path=0.5, index=1)
    tokens = torch.randn(6, 4, 16)
    parts = [
        SubsetDraw(seed=0, step=0, global_batch=6, start=start, size=size)
        for start, size in ((0, 6), (0, 1), (1, 5))
    ]
    whole = block(tokens, parts[0])
    chunks = torch.cat([block(tokens[:1], parts[1]), block(tokens[1:], parts[2])])
    torch.testing.assert_close(chunks, whole)


def test_without_a_draw_training_uses_torchs_own_generator() -> None:
    block = VisionBlock(16, 2, drop_path=0.5, index=0)
    tokens = torch.randn(6, 4, 16)
    torch.manual_seed(1)
    first = block(tokens)
    torch.manual_seed(1)
    assert torch.equal(block(tokens), first)
    assert not torch.equal(block.eval()(tokens), first)


def test_the_gate_is_silu() -> None:
    layer = SwiGLU(8)
    tokens = torch.randn(2, 8)
    expected = layer.w3(F.silu(layer.w1(tokens)) * layer.w2(tokens))
    assert torch.equal(layer(tokens), expected)
