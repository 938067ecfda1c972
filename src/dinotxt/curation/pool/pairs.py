"""The pool: every source is read once into tables of captions, with ids and places of pictures.

``pairs/NAME.parquet`` has one row a caption: ``pair_id, key, caption_index, caption, picture,
path, offset, size, member``; ``picture`` numbers the pictures of the table.
"""

import shutil
from functools import partial
from pathlib import Path

from dinotxt.config import differences
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool.repeated_ids import drop_duplicates
from dinotxt.curation.pool.sources import Source, SourceReport, list_sources, read_source
from dinotxt.curation.stage import StageFolder, StageReport, add_reasons
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json, write_json
from dinotxt.results.skip import Skip

STAGE = "pairs"


def collect_pairs(config: CurationConfig, engine: Engine) -> StageReport:
    """Read the input into tables of pairs, each id once.

    Raises:
        DataError: If no pair is left.
        ConfigError: If the input is not what the output was made from.
    """
    sources, missing = list_sources(config.input)
    settings = {"input": config.input, "max_characters": config.match.max_characters}
    folder = StageFolder(config.output, STAGE, config=settings)
    finished = folder.finished()
    _check_list(folder.path / "sources.json", sources, missing)
    read = partial(
        read_source,
        folder=folder.path,
        max_characters=config.match.max_characters,
        num_sources=len(sources) + len(missing),
    )
    reports: list[SourceReport] = list(engine.map(read, sources))
    if finished is not None:
        return finished
    tables = [name for report in reports for name in report.tables]
    n_out = sum(report.n_out for report in reports)
    rows = drop_duplicates(folder.path, tables, n_out, engine) if tables else 0
    if rows == 0:
        shutil.rmtree(folder.path)  # nothing was made, so that nothing need be as it was
        raise DataError(f"{config.input} has no usable pair.")
    skipped = [Skip(**skip) for report in reports for skip in report.skipped]
    reasons = add_reasons([*(report.reasons for report in reports), {"duplicate id": n_out - rows}])
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=sum(report.n_in for report in reports),
            n_out=rows,
            reasons=reasons,
            files=folder.relative(folder.path / f"{name}.parquet" for name in tables),
            complete=not missing and all(report.complete for report in reports),
            skipped=(*missing, *skipped),
            details={
                "num_sources": len(sources),
                "num_tables": len(tables),
                "num_pictures": sum(report.num_pictures for report in reports),
            },
        )
    )


def table_paths(root: Path, report: StageReport) -> list[Path]:
    """Return the tables of the pool, in order."""
    return [root / file for file in report.files]


def _check_list(path: Path, sources: list[Source], missing: list[Skip]) -> None:
    """Refuse sources that came or went, but for those that were missing before."""
    now = {source.name: source.data for source in sources}
    if path.exists():
        stored = read_json(path)
        was_missing = set(stored["missing"])
        added = {name: data for name, data in now.items() if data in was_missing}
        changed = differences({**stored["sources"], **added}, now)
        if changed:
            lines = "\n".join(f"  {line}" for line in changed)
            raise ConfigError(
                f"The input is not what {path.parent} was made from:\n{lines}\n"
                "Use another `output`, or bring the old files back."
            )
    write_json(path, {"sources": now, "missing": [skip.path for skip in missing]})
