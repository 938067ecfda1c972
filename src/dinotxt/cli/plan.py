"""``dinotxt plan``: what a curation or a training run will cost, before it is run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import Session, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dinotxt.curation.plan import Rates
    from dinotxt.training.config import TrainConfig

File = Annotated[
    str, typer.Argument(metavar="RECIPE|FILE.yaml", help="A training recipe, or a curation.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Changes, such as image.levels=[2000,200]."),
]
Pairs = Annotated[
    int | None,
    typer.Option(min=1, help="Pairs of the pool (default: those that were read), or to cache."),
]
EmbedRate = Annotated[
    float | None,
    typer.Option(min=0.001, help="Pictures embedded a second (default: a ViT-L/14 on one core)."),
]
RatesFile = Annotated[
    Path | None,
    typer.Option(
        "--rates", metavar="FILE", help="What benchmarks/curation_scaling.py gave on your machine."
    ),
]
Width = Annotated[int, typer.Option(min=1, help="Width of a picture's vector, with --pairs.")]
CaptionTokens = Annotated[
    float, typer.Option(min=1, help="Tokens of a caption; the paper's code computes all 77.")
]
GpuKind = Annotated[str, typer.Option("--gpu", help="v100, a100-40, a100 or h100.")]
Gpus = Annotated[int, typer.Option(min=1, help="GPUs that share the training.")]
Utilisation = Annotated[
    float | None,
    typer.Option(
        min=0.001, max=1, help="Share of a GPU's peak (default: what the paper's run reached)."
    ),
]


def plan(
    file: File,
    overrides: Overrides = None,
    *,
    pairs: Pairs = None,
    width: Width = 1024,
    embed_rate: EmbedRate = None,
    rates_path: RatesFile = None,
    caption_tokens: CaptionTokens = 14,
    gpu: GpuKind = "a100",
    gpus: Gpus = 1,
    utilisation: Utilisation = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Estimate what a training or a curation costs.

    A training: GFLOPs of a pair by part, GPU-hours, energy and storage, beside the paper's Table 7.
    A curation: core-hours, memory, storage and tasks of each stage.
    """
    with session("plan", json_path, quiet) as current:
        if _is_curation(file):
            rates = _rates(rates_path, embed_rate)
            _plan_curation(current, Path(file), overrides or [], pairs, width, rates)
            return
        from dinotxt.training.config import TrainConfig

        config = TrainConfig.from_yaml(file, *(overrides or []))
        hardware = _Hardware(gpu, gpus, utilisation)
        _plan_training(current, Path(file).stem, config, caption_tokens, hardware, pairs)


def _is_curation(file: str) -> bool:
    """Tell a curation from a training by the keys of the file; a name is always a recipe."""
    import yaml

    path = Path(file)
    if path.suffix not in {".yaml", ".yml"} or not path.is_file():
        return False
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False  # the loader says what is wrong
    if not isinstance(content, dict):
        return False
    if not {"input", "metadata", "match", "image", "draw"}.isdisjoint(content):
        return True
    return "base" in content and _is_curation(str(path.parent / str(content["base"])))


def _rates(path: Path | None, embed_rate: float | None) -> "Rates":
    from dinotxt.curation.plan import Rates

    rates = Rates(embed=embed_rate) if embed_rate else Rates()
    return rates.measured(path) if path else rates


def _plan_curation(
    current: Session,
    file: Path,
    overrides: "Sequence[str]",
    pairs: int | None,
    width: int,
    rates: "Rates",
) -> None:
    from dinotxt.config import load_config
    from dinotxt.curation.config import CurationConfig
    from dinotxt.curation.plan import plan_curation, pool_size

    config = load_config(CurationConfig, file, overrides)
    num_pairs, num_pictures, vector = (pairs, pairs, width) if pairs else pool_size(config)
    costs = plan_curation(
        config.image,
        num_pairs=num_pairs,
        num_pictures=num_pictures,
        width=vector,
        rates=rates,
    )
    if config.image.levels[0] > num_pictures:
        current.errors.print(
            f"warning: {num_pictures} pictures cannot make {config.image.levels[0]} clusters; "
            "`dinotxt curate` would refuse these levels."
        )
    rows = [cost.to_dict() for cost in costs]
    _show(current, rows)
    current.console.print(
        f"Embedding is counted at {rates.embed:g} pictures a second a core; --embed-rate gives "
        "another rate (the default is a ViT-L/14)."
    )
    current.finish({"rows": rows, "pairs": num_pairs, "pictures": num_pictures})


class _Hardware:
    """The GPUs of a plan.

    Raises:
        ConfigError: If their kind is not known.
    """

    def __init__(self, gpu: str, count: int, utilisation: float | None) -> None:
        from dinotxt.errors import ConfigError
        from dinotxt.training.cost import GPUS, paper_utilisation

        if gpu not in GPUS:
            raise ConfigError(f"--gpu {gpu} is not known; choose from {', '.join(GPUS)}.")
        self.gpu = GPUS[gpu]
        self.count = count
        self.utilisation = utilisation or paper_utilisation()


def _plan_training(
    current: Session,
    name: str,
    config: "TrainConfig",
    caption_tokens: float,
    hardware: _Hardware,
    pairs: int | None,
) -> None:
    from dinotxt.training.cost import estimate, part_rows, storage_rows, table_7

    parts = part_rows(config, caption_tokens)
    estimates = table_7(hardware.utilisation)
    gpu = hardware.gpu.computing(config.compute.precision)
    for row in parts:
        estimates.append(
            estimate(
                f"{name}: {row['variant']}",
                gpu=gpu,
                utilisation=hardware.utilisation,
                samples=float(config.steps * config.batch_size),
                gflops=float(row["total"]),
                num_gpus=hardware.count,
                batch_size=config.batch_size,
            )
        )
    storage = storage_rows(config, pairs)
    rows = [one.to_dict() for one in estimates]
    current.console.print("GFLOPs of a pair of a training step")
    _show(current, parts)
    current.console.print(
        f"Table 7 beside our formula at {hardware.utilisation:.3f} of a GPU's 16-bit peak, then "
        f"this run at as much of the {gpu.teraflops:g} TFLOP/s of {config.compute.precision}"
    )
    _show(current, [_short(row) for row in rows])
    current.console.print("Storage")
    _show(current, storage)
    current.finish(
        {
            "rows": rows,
            "parts": parts,
            "storage": storage,
            "utilisation": round(hardware.utilisation, 4),
        }
    )


def _short(row: "dict[str, Any]") -> dict[str, Any]:
    """Return the columns of a row that fit a terminal."""
    samples, kind = row["samples"], str(row["gpu"]).partition(" ")[0]
    return {
        "method": str(row["method"]).rpartition(": ")[2],
        "pairs": None if samples is None else f"{samples / 1e9:.3g}B",
        "GPUs": kind if row["gpus"] is None else f"{row['gpus']} {kind}",
        "GFLOPs": row["gflops_a_sample"],
        "GPU-h": row["gpu_hours"],
        "paper": row["gpu_hours_paper"],
        "MWh": row["megawatt_hours"],
    }


def _show(current: Session, rows: "Sequence[dict[str, Any]]") -> None:
    table = Table(*rows[0], box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*("-" if value is None else _text(value) for value in row.values()))
    current.console.print(table)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.5g}"
    return str(value)
