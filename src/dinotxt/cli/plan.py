"""``dinotxt plan``: what a curation will cost, before it is run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import session

File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="A curation.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Changes, such as image.levels=[2000,200]."),
]
Pairs = Annotated[
    int | None, typer.Option(min=1, help="Pairs of the pool (default: those that were read).")
]
EmbedRate = Annotated[
    float | None,
    typer.Option(min=0.001, help="Pictures embedded a second (default: a ViT-L/14 on one core)."),
]
Width = Annotated[int, typer.Option(min=1, help="Width of a picture's vector, with --pairs.")]


def plan(
    file: File,
    overrides: Overrides = None,
    *,
    pairs: Pairs = None,
    width: Width = 1024,
    embed_rate: EmbedRate = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Estimate core-hours, memory, storage and tasks of each stage of a curation."""
    with session("plan", json_path, quiet) as current:
        from dinotxt.config import load_config
        from dinotxt.curation.config import CurationConfig
        from dinotxt.curation.plan import Rates, plan_curation, pool_size

        config = load_config(CurationConfig, file, overrides or [])
        num_pairs, num_pictures, vector = (pairs, pairs, width) if pairs else pool_size(config)
        costs = plan_curation(
            config.image,
            num_pairs=num_pairs,
            num_pictures=num_pictures,
            width=vector,
            rates=Rates(embed=embed_rate) if embed_rate else Rates(),
        )
        if config.image.levels[0] > num_pictures:
            current.errors.print(
                f"warning: {num_pictures} pictures cannot make {config.image.levels[0]} clusters; "
                "`dinotxt curate` would refuse these levels."
            )
        rows = [cost.to_dict() for cost in costs]
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        current.console.print(table)
        current.finish({"rows": rows, "pairs": num_pairs, "pictures": num_pictures})
