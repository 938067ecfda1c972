import torch

from dinotxt.checkpoints.layouts import from_dinov2, from_dinov3, to_dinov2, to_dinov3

HEAD_PARTS = [
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.weight",
    "attn.proj.weight",
    "attn.proj.bias",
    "ls1.gamma",
    "norm2.weight",
    "norm2.bias",
    "mlp.w1.weight",
    "mlp.w1.bias",
    "mlp.w2.weight",
    "mlp.w2.bias",
    "mlp.w3.weight",
    "mlp.w3.bias",
    "ls2.gamma",
]
TEXT_PARTS = [
    "attention_norm.weight",
    "attention_norm.bias",
    "attention.qkv.weight",
    "attention.proj.weight",
    "attention.proj.bias",
    "ffn_norm.weight",
    "ffn_norm.bias",
    "feed_forward.fc1.weight",
    "feed_forward.fc1.bias",
    "feed_forward.fc2.weight",
    "feed_forward.fc2.bias",
]
HEAD = [f"block_list.{n}.{part}" for n in (0, 1) for part in HEAD_PARTS]
HEAD += ["ln_final.weight", "ln_final.bias"]
TEXT = [f"backbone.blocks.{n}.{part}" for n in (0, 1) for part in TEXT_PARTS]
TEXT += [
    "backbone.token_embedding.weight",
    "backbone.positional_embedding",
    "backbone.ln_final.weight",
    "backbone.ln_final.bias",
    "head.linear_projection.weight",
]


def tensors(names: list[str]) -> dict[str, torch.Tensor]:
    return {name: torch.randn(2) for name in names}


def test_dinov2s_names_come_back_as_they_were() -> None:
    head, text = tensors(HEAD), tensors(TEXT)
    ours = from_dinov2(head, text)
    assert len(ours) == len(HEAD) + len(TEXT)
    head_again, text_again = to_dinov2(ours)
    assert head_again == head
    assert text_again == text


def test_dinov3s_names_come_back_as_they_were() -> None:
    names = [f"visual_model.head.{name.replace('block_list', 'blocks')}" for name in HEAD]
    names += [f"text_model.{name}" for name in TEXT] + ["logit_scale"]
    file = tensors(names)
    assert to_dinov3(from_dinov3(file)) == file


def test_both_layouts_have_the_same_names_here() -> None:
    head, text = tensors(HEAD), tensors(TEXT)
    ours = from_dinov2(head, text)
    again = from_dinov3(to_dinov3(ours | {"logit_scale": torch.ones(())}))
    assert again.keys() == ours.keys() | {"logit_scale"}


def test_the_backbone_inside_dinov3s_file_is_left_out() -> None:
    assert from_dinov3(tensors(["visual_model.backbone.blocks.0.norm1.weight"])) == {}
