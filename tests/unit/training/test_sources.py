"""Runs on several sources, and on pairs that a classifier makes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dinotxt.checkpoints.sources import build_backbone
from dinotxt.data.pictures import Transform
from dinotxt.data.readers import read_pairs
from dinotxt.errors import ConfigError, DataError
from dinotxt.inference.caching import FeatureCacher
from dinotxt.training.config import TrainConfig
from dinotxt.training.loop import Loop, Run
from dinotxt.training.setup import transform_config
from dinotxt.training.trainer import Trainer

WIDTH = 1280


@pytest.fixture
def two(tiny_run: Path) -> Path:
    """The tiny run with a second set: four of its pictures under other captions."""
    rows = [f"{number:02d}.png,other {number}" for number in range(4)]
    (tiny_run.parent / "more.csv").write_text("\n".join(["path,caption", *rows]) + "\n")
    return tiny_run


def settings(run: Path, *changes: str, caches: bool = False) -> TrainConfig:
    folder = run.parent
    cached = [f", cache: {folder}/{name}" if caches else "" for name in ("first", "second")]
    sources = (
        f"data.train=[{{path: {folder}/pairs.csv, weight: 3{cached[0]}}}, "
        f"{{path: {folder}/more.csv, weight: 1{cached[1]}}}]"
    )
    return TrainConfig.from_yaml(run, sources, *changes)


def weights(run: Run) -> dict[str, torch.Tensor]:
    state = torch.load(run.last.path / "state.pt", weights_only=True)
    found: dict[str, torch.Tensor] = state["learner"]["model"]
    return found


def equal(one: Run, other: Run) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(value, second[name]) for name, value in first.items())


def fit(config: TrainConfig) -> Run:
    return Trainer(config, device="cpu").fit()


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make runs fail after a step, as if they were killed; call it to undo that."""
    original = Loop._after_step

    def after(self: Loop, *, is_last: bool) -> None:
        original(self, is_last=is_last)
        if self.step == step:
            self.writer.wait()
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_after_step", after)
    return lambda: monkeypatch.setattr(Loop, "_after_step", original)


@pytest.fixture
def taught(two: Path) -> Path:
    """The same over a CNN, cached, with a classifier of four classes."""
    folder = two.parent
    text = two.read_text().replace("size: 32, views", "size: 64, views")
    begin, end = text.index("    name: vit_tiny"), text.index("  text_encoder:")
    head = "  vision_head: {num_blocks: 0, dim: 32, pooling: cls_avg}\n"
    two.write_text(
        f"{text[:begin]}    name: tf_efficientnet_lite0\n    weights: random\n{head}{text[end:]}"
    )
    config = TrainConfig.from_yaml(two, "data.views=null")
    backbone = build_backbone(config.model.backbone)
    transform = Transform(transform_config(config.data, backbone))
    for table, name in (("pairs.csv", "first"), ("more.csv", "second")):
        pairs = read_pairs(folder / table)
        FeatureCacher(backbone, transform, pairs, folder / name, device="cpu").run()
    generator = torch.Generator().manual_seed(0)
    classifier = {"weight": torch.randn(4, WIDTH, generator=generator), "bias": torch.zeros(4)}
    save_file(classifier, folder / "head.safetensors")
    (folder / "names.txt").write_text("cup < thing\ntree < plant\ndog < animal\ncat < animal\n")
    return two


def taught_settings(run: Path, *changes: str) -> TrainConfig:
    folder = run.parent
    return settings(
        run,
        "data.views=null",
        "batch_size=8",
        f"teachers={{share: 0.25, names: {folder}/names.txt, weights: {folder}/head.safetensors}}",
        *changes,
        caches=True,
    )


def test_a_run_on_two_sources_that_was_killed_ends_with_the_same_weights(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(settings(two, f"output={two.parent}/whole"))
    config = settings(two)
    undo = stop_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(config)
    undo()
    assert equal(fit(config), whole)


def test_a_taught_run_that_was_killed_ends_with_the_same_weights(
    taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(taught_settings(taught, f"output={taught.parent}/whole"))
    undo = stop_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(taught_settings(taught))
    undo()
    assert equal(fit(taught_settings(taught)), whole)
    without = fit(taught_settings(taught, "teachers=null", f"output={taught.parent}/without"))
    assert not equal(without, whole)


@pytest.mark.parametrize("captions", ["all", "averaged"])
def test_taught_runs_take_all_captions_and_micro_batches(taught: Path, captions: str) -> None:
    changes = (f"data.captions={captions}", "steps=2")
    whole = fit(taught_settings(taught, *changes, f"output={taught.parent}/whole"))
    parts = fit(taught_settings(taught, *changes, "micro_batch_size=3"))
    first, second = weights(whole), weights(parts)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-5)


def test_other_names_do_not_go_on_with_a_run(taught: Path) -> None:
    fit(taught_settings(taught))
    (taught.parent / "names.txt").write_text("cup\ntree\ndog\nhorse\n")
    with pytest.raises(DataError, match="other pairs"):
        fit(taught_settings(taught))


def test_a_teacher_without_a_cache_is_told_what_to_do(two: Path) -> None:
    with pytest.raises(ConfigError, match="dinotxt cache"):
        fit(settings(two, "teachers=classifier"))


def test_a_share_is_set_apart_of_each_source(two: Path) -> None:
    run = fit(settings(two, "data.val=0.25", "steps=2"))
    assert run.best.metrics["text_to_image_recall@10"] == 1.0  # of 3 + 1 pictures


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("data.cache=x", "its own `cache`"),
        ("data.curation=x", "curation goes with one path"),
        ("data.train=[{path: a, cache: b}, {path: c}]", "every source a cache, or none"),
        ("data.train=[{path: a, weight: 0}]", "data.train.0.weight"),
        ("data.train=[{path: 's3://a/b.tar', cache: c}]", "a stream cannot have a cache"),
        ("teachers={feature: cls}", "pooling to cls"),
        ("teachers={templates: []}", "teachers.templates"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(two: Path, change: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        settings(two, change)


def test_a_missing_source_is_told_before_anything_is_built(two: Path) -> None:
    (two.parent / "more.csv").unlink()
    with pytest.raises(DataError, match=r"more\.csv"):
        fit(settings(two))


def test_a_stream_and_local_pairs_go_together(
    two: Path, write_shards: Callable[..., list[str]]
) -> None:
    shards = write_shards(two.parent / "shards", num_shards=2, num_samples=6)
    address = "{" + ",".join(f"file://{path}" for path in shards) + "}"
    config = TrainConfig.from_yaml(
        two,
        f"data.train=[{{path: {two.parent}/pairs.csv}}, {{path: '{address}'}}]",
        "data.val=null",
        "steps=2",
    )
    assert fit(config).steps == 2
