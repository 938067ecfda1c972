"""``dinotxt cache``: run a frozen backbone over pairs once and keep its tokens for training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinotxt.cli import options
from dinotxt.cli.session import Session, session

if TYPE_CHECKING:
    from dinotxt.data.features import FeatureStore
    from dinotxt.data.pictures import Transform
    from dinotxt.inference.caching import FeatureCacher, Kind, Views
    from dinotxt.models.config import ModelConfig
    from dinotxt.training.config import DataConfig

Backbone = Annotated[
    str | None,
    typer.Option("--backbone", "-b", help="A timm name, hf:FOLDER or package.module:function."),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The backbone's weights (default: by its name)."),
]
Data = Annotated[
    str | None, typer.Option("--data", "-d", help="Tars (globs and braces), a folder or a table.")
]
Out = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="The folder of the cache.")]
Tokens = Annotated[
    Literal["all", "pooled"] | None,
    typer.Option(help="Default: what the recipe needs, else pooled."),
]
NumViews = Annotated[
    int | None,
    typer.Option("--views", min=1, metavar="K", help="Random views (default: the plain picture)."),
]
Recipe = Annotated[
    str | None,
    typer.Option("--config", metavar="RECIPE", help="A recipe or file that fills in the rest."),
]


def cache(
    *,
    out: Out,
    backbone: Backbone = None,
    weights: Weights = None,
    data: Data = None,
    tokens: Tokens = None,
    views: NumViews = None,
    config: Recipe = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 32,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Keep the frozen tokens of every picture; the same command goes on with a killed run."""
    if config is None and (backbone is None or data is None):
        raise typer.BadParameter("give --backbone and --data, or --config.")
    with session("cache", json_path, quiet) as current:
        model, settings, seed, needed = _settings(config, backbone, weights, data, size)
        from dinotxt.checkpoints.sources import build_backbone
        from dinotxt.data.pictures import Transform
        from dinotxt.data.readers import read_pairs
        from dinotxt.files import check_own_folder, one_writer
        from dinotxt.inference.caching import FeatureCacher
        from dinotxt.inference.loading import keep_freed_memory
        from dinotxt.training.setup import transform_config

        keep_freed_memory()
        pairs = read_pairs(_only_source(settings), on_skip=current.skip)
        built = build_backbone(model.backbone, trust_code=True)
        transform = Transform(transform_config(settings, built))
        check_own_folder(out, "plan.json")
        with one_writer(out, "cache"):
            cacher = FeatureCacher(
                built,
                transform,
                pairs,
                out,
                tokens=tokens or needed,
                views=_views(views, settings, transform, seed),
                device=device,
            )
            _announce(current, cacher, len(pairs), out)
            with current.progress("cache") as report:
                store = cacher.run(
                    batch_size=batch_size,
                    num_workers=num_workers,
                    on_skip=current.skip,
                    progress=report,
                )
        _finish(current, store, out)


def _finish(current: Session, store: "FeatureStore", out: str) -> None:
    reported = set(current.skipped)
    for skip in store.skipped:
        if skip not in reported:
            current.skip(skip)  # an earlier run left it out
    used = sum(path.stat().st_size for path in Path(out).iterdir() if path.is_file())
    current.console.print(f"{len(store)} pictures in {out}", highlight=False, markup=False)
    current.finish({"cache": out, "n": len(store), "bytes": used}, done=len(store))


def _settings(
    recipe: str | None,
    backbone: str | None,
    weights: str | None,
    data: str | None,
    size: int | None,
) -> "tuple[ModelConfig, DataConfig, int, Kind]":
    """Return the model, data settings, seed and tokens: the recipe's, changed by the options."""
    from dataclasses import replace

    from dinotxt.config import load_config
    from dinotxt.models.config import BackboneConfig, ModelConfig
    from dinotxt.training.config import DataConfig, TrainConfig
    from dinotxt.training.feed import needed_patches

    changes: dict[str, Any] = {} if data is None else {"train": data, "cache": None}
    if size is not None:
        changes["size"] = size
    if recipe is None:
        assert backbone is not None
        config = BackboneConfig(name=backbone, weights=weights)
        return ModelConfig(backbone=config), load_config(DataConfig, changes), 0, "pooled"
    run = TrainConfig.from_yaml(recipe)
    model = run.model
    if backbone is not None:
        model = replace(model, backbone=BackboneConfig(name=backbone, weights=weights))
    elif weights is not None:
        model = replace(model, backbone=replace(model.backbone, weights=weights))
    needed: Kind = "all" if needed_patches(run) is None else "pooled"
    return model, replace(run.data, **changes), run.seed, needed


def _only_source(settings: "DataConfig") -> str:
    """Return the pairs to cache.

    Raises:
        ConfigError: If there are several sets, each of which has a cache of its own.
    """
    from dinotxt.errors import ConfigError

    paths = [source.path for source in settings.sources]
    if len(paths) > 1:
        raise ConfigError(
            f"data.train names {len(paths)} sets, each with a cache of its own: run this once for "
            f"each, such as --data {paths[0]!r}."
        )
    return paths[0]


def _views(
    count: int | None, settings: "DataConfig", transform: "Transform", seed: int
) -> "Views | None":
    from dinotxt.data.pictures import RandomView, ViewConfig
    from dinotxt.inference.caching import Views

    if count is None and settings.views is None:
        return None
    return Views(RandomView(settings.views or ViewConfig(), transform), count or 1, seed)


def _announce(current: Session, cacher: "FeatureCacher", num_pairs: int, out: str) -> None:
    spec = cacher.spec
    text = (
        f"{num_pairs} pictures x {spec.views} views x {spec.num_tokens} tokens x {spec.width} in "
        f"fp16: {_readable(cacher.num_bytes)} in {out}"
    )
    done = f" ({cacher.num_done} are there)" if cacher.num_done else ""
    current.console.print(text + done, highlight=False, markup=False, soft_wrap=True)


def _readable(num_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"
