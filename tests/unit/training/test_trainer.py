import json
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dinotxt.checkpoints import format as model_format
from dinotxt.checkpoints.format import load_model
from dinotxt.checkpoints.sources import build_backbone
from dinotxt.data.pictures.transform import Transform
from dinotxt.data.pictures.view import RandomView
from dinotxt.data.readers.pairs import read_pairs
from dinotxt.errors import CheckpointError, ConfigError, DataError, DinotxtError
from dinotxt.inference.caching import FeatureCacher, Views
from dinotxt.inference.defaults import InferenceDefaults, read_defaults
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.weights import write_safetensors
from dinotxt.training.config import TrainConfig
from dinotxt.training.record.log import MetricsLog
from dinotxt.training.record.state import Checkpoints
from dinotxt.training.setup import transform_config
from dinotxt.training.trainer import Trainer
from dinotxt.training.update.objective import Objective

Make = Callable[..., TrainConfig]


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in lines(run) if "loss" in line]


def cache(config: TrainConfig, path: Path, tokens: Any, views: int = 1) -> Path:
    backbone = build_backbone(config.model.backbone)
    transform = Transform(transform_config(config.data, backbone))
    drawn = None
    if config.data.views is not None:
        drawn = Views(RandomView(config.data.views, transform), count=views)
    pairs = read_pairs(config.data.sources[0].path)
    FeatureCacher(backbone, transform, pairs, path, tokens=tokens, views=drawn, device="cpu").run(
        num_workers=0
    )
    return path


def test_a_run_leaves_a_model_checkpoints_and_metrics(config: Make) -> None:
    run = Trainer(config()).fit()
    assert (run.steps, run.last.step) == (6, 6)
    assert set(run.last.metrics) >= {"text_to_image_recall@1", "image_to_text_recall@10"}
    assert [line["step"] for line in lines(run.path)] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert lines(run.path)[0]["lr"] == 0.0005
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "last",
        "step-4",
        "step-6",
    ]
    extra = load_model(run.best.path).extra
    assert (extra["step"], extra["metrics"]) == (run.best.step, dict(run.best.metrics))
    assert read_defaults(extra) == InferenceDefaults()
    assert (run.path / "config.yaml").is_file()
    assert any((run.path / "tensorboard").iterdir())


def test_worker_processes_change_nothing(config: Make, tmp_path: Path) -> None:
    alone = Trainer(config(f"output={tmp_path}/alone")).fit()
    helped = Trainer(config(f"output={tmp_path}/helped", "data.num_workers=2")).fit()
    assert lines(alone.path) == lines(helped.path)


def test_micro_batches_give_the_losses_of_whole_batches(config: Make, tmp_path: Path) -> None:
    whole = Trainer(config(f"output={tmp_path}/whole")).fit()
    split = Trainer(config(f"output={tmp_path}/split", "micro_batch_size=3")).fit()
    np.testing.assert_allclose(losses(split.path), losses(whole.path), rtol=1e-5)


def test_without_validation_the_model_is_the_last_one(config: Make) -> None:
    run = Trainer(config("data.val=null", "evaluate.every=4")).fit()
    assert (run.best.step, dict(run.best.metrics)) == (6, {})
    saved = torch.load(run.last.path / "state.pt", weights_only=True)["learner"]["model"]
    loaded = load_model(run.best.path).model.trainable_state_dict()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_the_best_model_is_kept_and_the_callback_adds_metrics(config: Make) -> None:
    recalls = iter([0.2, 0.6, 0.4])

    def evaluate(model: DinoTxt) -> dict[str, float]:
        assert not model.training
        recall = next(recalls)
        return {"text_to_image_recall@1": recall, "image_to_text_recall@1": recall, "top1": 0.1}

    run = Trainer(config("evaluate.every=2"), evaluate).fit()
    assert (run.best.step, run.best.metrics["top1"]) == (4, 0.1)
    assert run.last.metrics["text_to_image_recall@1"] == 0.4
    assert load_model(run.best.path).extra["step"] == 4


def test_the_moving_average_is_what_is_saved(config: Make) -> None:
    run = Trainer(config("optim.average=0.5", "data.val=null")).fit()
    learner = torch.load(run.last.path / "state.pt", weights_only=True)["learner"]
    loaded = load_model(run.best.path).model.trainable_state_dict()
    name = "text_encoder.projection.weight"
    assert torch.equal(loaded[name], learner["average"][name])
    assert not torch.equal(loaded[name], learner["model"][name])


def test_the_backbone_never_changes(config: Make) -> None:
    before = build_backbone(config().model.backbone).weights_hash
    run = Trainer(config()).fit()
    loaded = load_model(run.best.path)
    assert loaded.model.backbone.weights_hash == before
    assert not any("backbone" in name for name in loaded.model.trainable_state_dict())


def test_training_on_a_cache_follows_training_on_pictures(config: Make, tmp_path: Path) -> None:
    settings = ["data.views=null", "data.val=null"]
    pictures = Trainer(config(f"output={tmp_path}/pictures", *settings)).fit()
    path = cache(config(*settings), tmp_path / "cache", "all")
    cached = Trainer(config(f"output={tmp_path}/cached", *settings, f"data.cache={path}")).fit()
    np.testing.assert_allclose(losses(cached.path), losses(pictures.path), rtol=2e-3)


def test_pooled_tokens_do_for_a_head_without_blocks(config: Make, tmp_path: Path) -> None:
    settings = ["data.views=null", "model.vision_head={num_blocks: 0, dim: 64}"]
    runs = []
    for kind in ("all", "pooled"):
        path = cache(config(*settings), tmp_path / kind, kind)
        changes = [f"output={tmp_path}/run-{kind}", f"data.cache={path}", f"data.val_cache={path}"]
        runs.append(Trainer(config(*settings, *changes)).fit())
    np.testing.assert_allclose(losses(runs[1].path), losses(runs[0].path), rtol=2e-3)
    with pytest.raises(ConfigError, match="pooled tokens"):
        Trainer(config(f"data.cache={path}", "data.views=null")).fit()


def test_the_gram_loss_needs_a_cache_of_all_tokens(config: Make, tmp_path: Path) -> None:
    head = "model.vision_head={num_blocks: 0, dim: 16, pooling: avg}"
    patches = ("model.backbone.options.patch_size=8", "data.views=null", head)
    gram = (*patches, "loss={kind: clip, gram: {weight: 1e-3, normalize: false, patches: 6}}")
    pooled, whole = (cache(config(*gram), tmp_path / kind, kind) for kind in ("pooled", "all"))
    plain = Trainer(config(f"output={tmp_path}/plain", *patches)).fit()
    pictures = Trainer(config(f"output={tmp_path}/pictures", *gram)).fit()
    val = f"data.val_cache={pooled}"  # the validation has no use for patches
    cached = Trainer(config(f"output={tmp_path}/cached", *gram, f"data.cache={whole}", val)).fit()
    assert losses(cached.path) == pytest.approx(losses(pictures.path), abs=2e-3)  # fp16
    assert losses(pictures.path)[0] > losses(plain.path)[0] + 0.01
    with pytest.raises(ConfigError, match="this run needs every patch"):
        Trainer(config(f"output={tmp_path}/refused", *gram, f"data.cache={pooled}")).fit()


@pytest.mark.parametrize("size", [4, 1])
def test_a_micro_batch_without_one_sound_pair_does_not_stop_the_run(
    config: Make, tmp_path: Path, size: int
) -> None:
    (tmp_path / "03.png").write_bytes(b"torn")
    settings = ("data.val=null", f"batch_size={size}", f"steps={12 // size}")  # one epoch
    runs = [
        Trainer(config(*settings, f"micro_batch_size={micro}", f"output={tmp_path}/{micro}")).fit()
        for micro in {1, size}
    ]
    for run in runs:
        assert run.steps == 12 // size
        assert losses(run.path) == pytest.approx(losses(runs[0].path), abs=1e-5)
        assert len(losses(run.path)) == (3 if size == 4 else 11)  # a step of no pair has no loss
        (lost,) = (run.path / "skipped.jsonl").read_text().splitlines()
        assert json.loads(lost)["path"].endswith("03.png")
    (tmp_path / "04.png").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"2 of 12 pairs cannot be used"):
        Trainer(config(*settings, "micro_batch_size=1", f"output={tmp_path}/too-many")).fit()


def test_a_cache_of_other_pictures_or_transforms_is_refused(config: Make, tmp_path: Path) -> None:
    path = cache(config("data.views=null"), tmp_path / "cache", "all")
    with pytest.raises(DataError, match="transform"):
        Trainer(config(f"data.cache={path}", "data.resize=squash")).fit()
    other = "model.backbone.options={embed_dim: 32, depth: 2, num_heads: 2, img_size: 32}"
    with pytest.raises(DataError, match="weights"):
        Trainer(config(f"output={tmp_path}/two", f"data.cache={path}", other)).fit()
    views = cache(config(), tmp_path / "views", "all", views=2)
    changed = ["data.views.scale=[0.9,1.0]", f"data.cache={views}"]
    with pytest.raises(DataError, match=r"data\.views"):
        Trainer(config(f"output={tmp_path}/three", *changed)).fit()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Objective.forward
    calls = iter(range(100))

    def failing(*arguments: Any) -> torch.Tensor:
        loss = forward(*arguments)
        return loss * float("nan") if next(calls) == 4 else loss

    monkeypatch.setattr(Objective, "forward", failing)
    settings = config()
    with pytest.raises(DinotxtError, match=r"loss of step 5 .*step 4 is the last good checkpoint"):
        Trainer(settings).fit()
    monkeypatch.undo()
    assert lines(settings.output)[-1]["step"] == 4
    assert Trainer(settings).fit().steps == 6


def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(
    config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = Trainer(config(f"output={tmp_path}/whole")).fit()
    save = torch.save

    def full(content: dict[str, Any], stream: Any) -> None:
        if content["step"] == 4:
            raise OSError(28, "No space left on device")
        save(content, stream)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*step 2 is still valid"):
        Trainer(config()).fit()
    monkeypatch.undo()
    assert Checkpoints(config().output / "checkpoints", keep=2).steps() == [2]
    assert lines(Trainer(config()).fit().path) == lines(whole.path)


def test_a_full_disk_while_the_model_is_saved_leaves_no_half_of_it(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_little_space(tensors: Mapping[str, Tensor], path: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            write_safetensors(tensors, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(model_format, "write_safetensors", on_little_space)
    alone = "checkpoint.every=99"  # the limit is for every thread of the process
    with pytest.raises(CheckpointError, match=r"model of step 3 .*File too large.*Free space"):
        Trainer(config(alone)).fit()
    assert not any((config().output / "model").iterdir())
    monkeypatch.undo()
    assert Trainer(config(alone)).fit().best.step in {3, 6}


def test_a_disk_that_takes_no_log_is_told_and_the_run_goes_on_from_its_checkpoint(
    config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = Trainer(config(f"output={tmp_path}/whole")).fit()
    append = MetricsLog._append

    def full(log: MetricsLog, content: Sequence[Mapping[str, Any]]) -> None:
        if content[0]["step"] == 4:
            with log.path.open("a") as stream:
                stream.write('{"step": 4, "lo')
            raise OSError(28, "No space left on device")
        append(log, content)

    monkeypatch.setattr(MetricsLog, "_append", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(.*No space left.*Free space"):
        Trainer(config()).fit()
    monkeypatch.undo()
    assert lines(Trainer(config()).fit().path) == lines(whole.path)


def test_other_pairs_under_the_same_path_are_refused(config: Make) -> None:
    settings = config("data.val=null")
    Trainer(settings).fit()
    table = Path(settings.data.sources[0].path)
    table.write_text(table.read_text().replace("a red square", "a red box"))
    with pytest.raises(DataError, match="began with other pairs"):
        Trainer(settings).fit()


@pytest.mark.parametrize("key", ["data.train", "data.val"])
def test_pairs_that_are_not_there_are_seen_before_the_backbone(config: Make, key: str) -> None:
    settings = config(f"{key}=nowhere.csv", "model.backbone.weights=https://nowhere.invalid/a.pth")
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        Trainer(settings).fit()
    assert not settings.output.exists()


def test_too_few_pairs_for_a_batch_are_an_error(config: Make) -> None:
    with pytest.raises(ConfigError, match="batch_size is 40"):
        Trainer(config("batch_size=40")).fit()
    with pytest.raises(ConfigError, match=r"data\.val: a share of 0\.99 of 12 pairs leaves none"):
        Trainer(config("data.val=0.99")).fit()


def test_a_model_keeps_its_own_settings_and_half_precision(config: Make) -> None:
    changes = ("inference.size=64", "checkpoint.model_dtype=float16")
    run = Trainer(config(*changes)).fit()
    assert read_defaults(load_model(run.best.path).extra).size == 64
    (weights,) = run.best.path.glob("*.safetensors")
    assert {value.dtype for value in load_file(weights).values()} == {torch.float16}
