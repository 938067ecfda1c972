from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dinotxt.config import load_config
from dinotxt.errors import ConfigError
from dinotxt.losses import clip_loss
from dinotxt.models.config import ModelConfig, PretrainedTextConfig, TransformerTextConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision.drop_path import SubsetDraw
from dinotxt.models.vision.tokens import Tokens
from dinotxt.training.config import TrainConfig
from dinotxt.training.cost.flops import backbone_flops, planned_backbone, planned_text
from dinotxt.training.cost.ledger import Ledger
from dinotxt.training.distributed.world import World
from dinotxt.training.feed.batches import Batch
from dinotxt.training.feed.vision import as_pooled, pooled_kind
from dinotxt.training.update.objective import Objective
from dinotxt.training.update.step import TrainingStep
from dinotxt.training.update.towers import TrainedTowers

PICTURES = 6
SIZE = 32


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count with plain attention, which the counter knows on every device."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        yield counter


def run_config(model: ModelConfig, **changes: Any) -> TrainConfig:
    return load_config(
        TrainConfig,
        {
            "output": "run",
            "steps": 1,
            "batch_size": PICTURES,
            "model": model,
            "data": {"train": "pairs.csv", "size": SIZE},
            **changes,
        },
    )


def texts() -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([3, 9, 5, 5, 12, 4])
    return torch.randint(1, 40, (PICTURES, 12)), lengths


def head_with(**options: Any) -> dict[str, Any]:
    return {"num_blocks": 0, "drop_path": 0.0, **options}


def counted_step(model: DinoTxt, *, passes: int = 1) -> float:
    """Count what a step of the model does; with two passes as gradient caching does it."""
    model.train()
    images = torch.rand(PICTURES, 3, SIZE, SIZE)
    ids, lengths = texts()
    draw = SubsetDraw(seed=0, step=0, global_batch=PICTURES, start=0, size=PICTURES)
    with counting() as counter:
        vision: Tensor | Tokens = images
        if model.backbone.config.frozen:
            vision = model.backbone(images)
        if passes == 2:
            with torch.no_grad():
                features(model, vision, ids, lengths, draw)
        image, text = features(model, vision, ids, lengths, draw)
        torch.autograd.backward(clip_loss(image, text, model.logit_scale.exp()))
    return float(counter.get_total_flops())


def features(
    model: DinoTxt, vision: Tensor | Tokens, ids: Tensor, lengths: Tensor, draw: SubsetDraw
) -> tuple[Tensor, Tensor]:
    tokens: Tokens = model.backbone(vision) if isinstance(vision, Tensor) else vision
    image = F.normalize(model.encode_tokens(tokens, draw=draw), dim=-1)
    return image, F.normalize(model.encode_text(ids, lengths), dim=-1)


@pytest.mark.parametrize(
    "head",
    [
        head_with(),
        head_with(num_blocks=2, num_heads=2),
        head_with(num_blocks=2, num_heads=2, drop_path=0.5),
        head_with(dim=48, pooling="avg"),
        head_with(dim=64, num_blocks=1),
        head_with(dim=48, input_norm="layer"),
        head_with(num_blocks=1, num_heads=2, patch_dropout=0.5),
        head_with(pooling="cls", cls_projection=64),
    ],
    ids=lambda head: "-".join(f"{value}" for value in head.values()),
)
@pytest.mark.parametrize("passes", [1, 2])
def test_a_step_agrees_with_the_counter_of_pytorch(
    tiny_config: ModelConfig, head: dict[str, Any], passes: int
) -> None:
    config = replace(tiny_config, vision_head=replace(tiny_config.vision_head, **head))
    model = DinoTxt.from_config(config)
    run = run_config(config, micro_batch_size=PICTURES if passes == 1 else 2)
    ours = Ledger.of_run(model, run).step(PICTURES, texts()[1]).total
    assert ours == pytest.approx(counted_step(model, passes=passes), rel=0.01)


def counted_training(model: DinoTxt, run: TrainConfig, *sizes: int) -> tuple[float, list[Batch]]:
    """Count a step as the trainer computes it, its pairs in micro-batches of these sizes."""
    ids, lengths = texts()
    images = torch.rand(PICTURES, 3, SIZE, SIZE)
    parts = (torch.split(values, list(sizes)) for values in (images, ids, lengths))
    batches = [Batch(*values) for values in zip(*parts, strict=True)]
    towers = TrainedTowers(model, captions="drawn", gram=run.loss.gram)
    world = World(torch.device("cpu"))
    step = TrainingStep(model.train(), towers, Objective(run.loss), run, world)
    with counting() as counter:
        step(0, batches)
    return float(counter.get_total_flops()), batches


@pytest.mark.parametrize("sizes", [(PICTURES,), (2, 4)])
@pytest.mark.parametrize(
    ("gram", "head"),
    [
        ({}, head_with(dim=48)),
        ({}, head_with(num_blocks=1, num_heads=2)),
        ({"patches": 40}, head_with(dim=48)),
        ({"patches": 99}, head_with(dim=48)),
        ({}, head_with(num_blocks=1, num_heads=2, patch_dropout=0.5)),
    ],
)
def test_the_gram_loss_agrees_with_the_counter(
    tiny_config: ModelConfig, gram: dict[str, Any], head: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    fine = replace(tiny_config.backbone, options={**tiny_config.backbone.options, "patch_size": 4})
    config = replace(
        tiny_config, backbone=fine, vision_head=replace(tiny_config.vision_head, **head)
    )
    runs = [run_config(config), run_config(config, loss={"kind": "clip", "gram": gram})]
    model = DinoTxt.from_config(config)
    (plain, batches), (whole, _) = (counted_training(model, run, *sizes) for run in runs)
    ours = [Ledger.of_run(model, run).batches(batches) * 1e9 for run in runs]
    assert whole > 1.02 * plain
    assert ours[1] - ours[0] == pytest.approx(whole - plain, rel=1e-6)
    assert ours[1] == pytest.approx(whole, rel=0.01)


def test_a_trained_backbone_agrees_with_the_counter(tiny_config: ModelConfig) -> None:
    config = replace(tiny_config, backbone=replace(tiny_config.backbone, frozen=False))
    model = DinoTxt.from_config(config)
    ours = Ledger.of_run(model, run_config(config)).step(PICTURES, texts()[1])
    assert ours.frozen == 0
    assert ours.total == pytest.approx(counted_step(model), rel=0.01)


@pytest.mark.parametrize("trainable_layers", [0, 1, 2])
def test_a_pretrained_text_encoder_agrees_with_the_counter(
    tiny_config: ModelConfig, tmp_path: Path, trainable_layers: int
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 80}
    bert = transformers.BertConfig(vocab_size=50, num_attention_heads=2, **sizes)
    transformers.BertModel(bert, add_pooling_layer=False).save_pretrained(tmp_path)
    text = PretrainedTextConfig(name=str(tmp_path), trainable_layers=trainable_layers)
    config = replace(tiny_config, text_encoder=text)
    model = DinoTxt.from_config(config).train()
    ledger = Ledger.of_run(model, run_config(config))
    lengths = torch.full((PICTURES,), 12)
    with counting() as counter:
        torch.autograd.backward(model.encode_text(texts()[0], lengths).sum())
    assert ledger.text.step(lengths) == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert planned_text(text, model.embed_dim) == ledger.text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"img_size": 32}),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 28}),
        ("vit_giant_patch14_reg4_dinov2", {"img_size": 28}),
        ("vit_small_patch16_dinov3", {"img_size": 32}),
        ("vit_huge_patch14_gap_224", {"img_size": 28}),
        ("efficientnet_lite0", None),
    ],
)
def test_backbones_agree_with_the_counter_and_with_their_plan(
    tiny_config: ModelConfig, name: str, options: dict[str, Any] | None
) -> None:
    small = {} if options is None else {"embed_dim": 96, "depth": 2, "num_heads": 2, **options}
    config = replace(tiny_config.backbone, name=name, options=small)
    model = DinoTxt.from_config(replace(tiny_config, backbone=config))
    size = small.get("img_size", 64)
    with counting() as counter, torch.no_grad():
        model.backbone(torch.rand(1, 3, size, size))
    ours = backbone_flops(model.backbone, size)
    assert ours.forward == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert planned_backbone(config, size).forward == pytest.approx(ours.forward, rel=1e-6)
    assert planned_backbone(config, size).num_patches == ours.num_patches


def test_a_cache_spares_the_backbone(tiny_config: ModelConfig) -> None:
    head = replace(tiny_config.vision_head, num_blocks=0, dim=48)
    config = replace(tiny_config, vision_head=head)
    model = DinoTxt.from_config(config)
    ids, lengths = texts()
    with torch.no_grad():
        tokens = model.backbone(torch.rand(PICTURES, 3, SIZE, SIZE))
    data = {"train": "pairs.csv", "size": SIZE, "cache": "tokens.cache"}
    ledger = Ledger.of_run(model, run_config(config, data=data))
    with counting() as counter:
        image = F.normalize(model.encode_tokens(as_pooled(tokens, pooled_kind(head))), dim=-1)
        text = F.normalize(model.encode_text(ids, lengths), dim=-1)
        torch.autograd.backward(clip_loss(image, text, model.logit_scale.exp()))
    ours = ledger.step(PICTURES, lengths)
    assert (ledger.cached, ours.frozen) == ("pooled", 0)
    assert ours.total == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_cache_of_all_tokens_spares_the_backbone_alone(tiny_config: ModelConfig) -> None:
    model = DinoTxt.from_config(tiny_config)
    data = {"train": "pairs.csv", "size": SIZE, "cache": "tokens.cache"}
    cached = Ledger.of_run(model, run_config(tiny_config, data=data)).step(2, [5, 7])
    plain = Ledger.of_run(model, run_config(tiny_config)).step(2, [5, 7])
    assert (cached.vision, cached.text, cached.loss) == (plain.vision, plain.text, plain.loss)
    assert (cached.frozen, plain.frozen > 0) == (0, True)


def test_only_real_tokens_count(tiny_config: ModelConfig) -> None:
    ledger = Ledger.of_run(DinoTxt.from_config(tiny_config), run_config(tiny_config))
    packed, padded = ledger.step(2, [5, 7]), ledger.step(2, [12, 12])
    assert padded.text > 1.9 * packed.text
    assert padded.vision == packed.vision


def test_micro_batches_and_processes_add_up(tiny_config: ModelConfig) -> None:
    ledger = Ledger.of_run(DinoTxt.from_config(tiny_config), run_config(tiny_config))
    ids, lengths = texts()
    images = torch.zeros(PICTURES, 3, SIZE, SIZE)
    one = Batch(images, ids, lengths)
    parts = [Batch(images[rows], ids[rows], lengths[rows]) for rows in (slice(2), slice(2, 6))]
    caching = replace(ledger, passes=2).step(PICTURES, lengths).total / 1e9
    assert ledger.batches(parts) == pytest.approx(caching)
    assert ledger.batches([one]) == pytest.approx(ledger.step(PICTURES, lengths).total / 1e9)
    twice = ledger.batches([one], num_ranks=2)
    assert twice > 2 * ledger.batches([one])  # the loss compares with both processes' pictures


@pytest.mark.parametrize(
    ("recipe", "gflops"),
    [
        ("table3-reference", 205),
        ("table3-2-blocks", 246),
        ("table3-curation", 426),
        ("table5-336", 701),
        ("table1-clip", 527),  # 257 tokens a picture, where the others have 261
    ],
)
def test_the_plan_of_the_paper_s_rows_agrees_with_a_reckoning_by_hand(
    recipe: str, gflops: float
) -> None:
    """2 FLOPs a multiplication, 77 tokens a text, no drop path and no loss."""
    ledger = replace(Ledger.planned(TrainConfig.from_yaml(recipe)), drop_path=0.0)
    flops = ledger.step(1, [77])
    assert (flops.total - flops.loss) / 1e9 == pytest.approx(gflops, rel=0.01)


def test_a_text_encoder_of_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="sizes are not known"):
        planned_text(PretrainedTextConfig(name="nobody/knows"), 64)
    assert planned_text(TransformerTextConfig(), 64).layers == 12
