from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed.world import World
from dinotxt.training.feed.batches import Batch
from dinotxt.training.update.objective import Objective
from dinotxt.training.update.step import TrainingStep
from dinotxt.training.update.towers import TrainedTowers, average_captions

Make = Callable[..., TrainConfig]
GRAM = "{kind: clip, gram: {weight: 3.0, patches: 3}}"


def build(config: TrainConfig) -> tuple[DinoTxt, TrainingStep]:
    torch.manual_seed(0)
    model = DinoTxt.from_config(config.model).double().train()
    objective = Objective(config.loss)
    towers = TrainedTowers(
        model, captions=config.data.captions, mixup=config.data.mixup, gram=config.loss.gram
    )
    return model, TrainingStep(model, towers, objective, config, World(torch.device("cpu")))


def batch(*, every: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(7, 3, 32, 32, generator=generator, dtype=torch.float64)
    owners = torch.tensor([0, 0, 1, 2, 2, 3, 4, 5, 6]) if every else None
    count = 9 if every else 7
    ids = torch.randint(1, 49406, (count, 6), generator=generator)
    return Batch(images, ids, torch.randint(1, 7, (count,), generator=generator), owners)


def parts(whole: Batch, *sizes: int) -> list[Batch]:
    assert isinstance(whole.vision, Tensor)
    images, ids, lengths = (
        torch.split(x, list(sizes)) for x in (whole.vision, whole.token_ids, whole.lengths)
    )
    return [Batch(*values) for values in zip(images, ids, lengths, strict=True)]


@pytest.mark.parametrize("loss", ["{kind: clip}", GRAM])
@pytest.mark.parametrize("frozen", ["true", "false"])
def test_gradient_caching_gives_the_gradients_of_the_full_batch(
    config: Make, frozen: str, loss: str
) -> None:
    settings = config(f"model.backbone.frozen={frozen}", f"loss={loss}")
    model, step = build(settings)
    whole = step(3, [batch()])
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model, step = build(settings)
    split = step(3, parts(batch(), 3, 3, 1))
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(split, whole, rtol=0, atol=1e-12)
    assert gradients.keys() == expected.keys()
    assert ("backbone.module.cls_token" in gradients) == (frozen == "false")
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", ["{kind: clip}", GRAM])
def test_gradient_caching_of_cached_tokens_equals_one_pass_over_pictures(
    config: Make, loss: str
) -> None:
    head = ("model.vision_head.drop_path=0.6", "model.vision_head.patch_dropout=0.25")
    settings = config(*head, "model.backbone.options.patch_size=8", f"loss={loss}")
    model, step = build(settings)
    whole = step(3, [batch()])
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model, step = build(settings)
    tokens = [replace(part, vision=model.backbone(part.vision)) for part in parts(batch(), 2, 5)]
    torch.testing.assert_close(step(3, tokens), whole, rtol=0, atol=1e-12)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(gradients, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["clip", "sigmoid"])
@pytest.mark.parametrize("frozen", ["true", "false"])
def test_gradient_caching_with_mixed_pairs_and_the_gram_loss_equals_one_pass_of_all(
    config: Make, frozen: str, kind: str
) -> None:
    """Each micro-batch mixes its own pairs, so one pass of all has to mix the same ones."""
    settings = config(
        "data.mixup=0.7",
        "data.views=null",
        f"model.backbone={{frozen: {frozen}, options: {{patch_size: 8}}}}",
        "model.vision_head={drop_path: 0.6, patch_dropout: 0.25}",
        f"loss={{kind: {kind}, gram: {{weight: 3.0, patches: 5}}}}",
    )
    batches = parts(batch(), 3, 3, 1)
    model, step = build(settings)
    split = step(3, batches)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model, step = build(settings)
    outputs = [step._outputs(chunk) for chunk in step._chunks(3, batches)]
    image, text, gram = (torch.cat(part) for part in zip(*outputs, strict=True))
    whole = step.objective(image, text, model.logit_scale, None, gram)
    whole.backward()
    torch.testing.assert_close(split, whole.detach(), rtol=0, atol=1e-12)
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert "vision_head.blocks.0.mlp.w1.weight" in gradients
    torch.testing.assert_close(gradients, expected, rtol=0, atol=1e-10)
    plain = build(config(f"loss.kind={kind}"))[1](3, batches)
    assert abs(float(plain - whole.detach())) > 1e-3


def test_the_drop_path_changes_with_the_step_and_repeats_with_it(config: Make) -> None:
    model, step = build(config("model.vision_head.drop_path=0.9"))
    with torch.no_grad():
        for name, parameter in model.vision_head.named_parameters():
            if "gamma" in name:
                parameter.fill_(1.0)
    losses = [step(number, [batch()]).item() for number in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]


def test_averaged_captions_give_one_feature_a_picture(config: Make) -> None:
    one = batch(every=True)
    assert one.owners is not None
    features = torch.nn.functional.normalize(torch.randn(9, 4, dtype=torch.float64), dim=-1)
    averaged = average_captions(features, one.owners, 7)
    torch.testing.assert_close(averaged[0], (features[0] + features[1]) / 2)
    torch.testing.assert_close(averaged[1], features[2])
    _, step = build(config("data.captions=averaged"))
    assert torch.isfinite(step(0, [one]))


def test_all_captions_are_texts_of_their_own_also_in_micro_batches(config: Make) -> None:
    whole = batch(every=True)
    assert isinstance(whole.vision, Tensor)
    ids, lengths = whole.token_ids, whole.lengths
    first = Batch(whole.vision[:3], ids[:5], lengths[:5], torch.tensor([0, 0, 1, 2, 2]))
    second = Batch(whole.vision[3:], ids[5:], lengths[5:], torch.arange(4))
    settings = config("data.captions=all")
    losses = [build(settings)[1](3, batches) for batches in ([whole], [first, second])]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-12)
    drawn = build(config())[1](3, [batch()])
    assert not torch.isclose(losses[0], drawn)


def test_pairs_that_are_all_broken_leave_the_loss_to_the_others(config: Make) -> None:
    settings = config(f"loss={GRAM}", "model.vision_head.drop_path=0")
    first, second = parts(batch(), 3, 4)
    assert isinstance(first.vision, Tensor)
    empty = Batch(first.vision[:0], first.token_ids[:0], first.lengths[:0])
    results = []
    for batches in ([first, second], [first, empty, second]):
        model, step = build(settings)
        loss = step(3, batches)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((loss, gradients))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)
