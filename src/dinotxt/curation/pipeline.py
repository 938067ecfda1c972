"""The stages of a curation in their order; a stage that is done is not done again."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from dinotxt.config import to_json
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import Engine, open_engine
from dinotxt.curation.keep import draw_epoch, join_probabilities
from dinotxt.curation.pool import collect_pairs
from dinotxt.curation.stage import StageReport
from dinotxt.curation.text import balance_captions, build_metadata, match_captions, needs_captions
from dinotxt.errors import DataError
from dinotxt.files import (
    check_own_folder,
    one_writer,
    read_json,
    remove_unfinished,
    write_json,
)

Verb = Literal["metadata", "match", "balance", "embed", "cluster", "draw", "run"]
Progress = Callable[[str, int, int], None]

_WHERE = {"output", "engine", "workers", "address"}  # keys that change no byte of the results
_MARKER = "curation.json"  # what tells our output from a folder of the user's
_FORMAT = {"format": "curation 1"}
_FOLDERS = ("pairs", "metadata", "match", "balance", "embed", "cluster", "sample", "keep", "draws")


def curate(
    config: CurationConfig, verb: Verb, *, epoch: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Do one step of a curation, and the steps that it needs and that are not done.

    Args:
        config: The curation.
        verb: The step; ``run`` does all and writes the report.
        epoch: The epoch that ``draw`` and ``run`` draw.
        progress: Called with (stage, tasks done, tasks in all).

    Returns:
        The JSON of the verb: ``stage, n_in, n_out, reasons, files, complete, skipped``; for
        ``draw`` also ``epoch, kept_text, kept_image, kept``; for ``run`` also ``stages``.

    Raises:
        DinotxtError: If an input cannot be used or is not what the output was made from, or the
            output cannot be written.
    """
    with _disk_failures(config.output):
        return _curate(config, verb, epoch, progress)


def _curate(
    config: CurationConfig, verb: Verb, epoch: int, progress: Progress | None
) -> dict[str, Any]:
    check_own_folder(config.output, _MARKER)
    with one_writer(config.output, "curate"):
        _clean(config.output)
        if not (config.output / _MARKER).exists():
            write_json(config.output / _MARKER, _FORMAT)
        with open_engine(config.engine, config.workers, config.address) as engine:
            pipeline = Pipeline(config, _Watched(engine, progress))
            if verb == "draw":
                result = pipeline.draw(epoch)
            elif verb == "run":
                result = pipeline.run(epoch)
            else:
                result = getattr(pipeline, verb)().to_dict()
            result["skipped"] = pipeline.skipped()
        own = {k: v for k, v in to_json(config).items() if k not in _WHERE}  # nothing was refused
        write_json(config.output / _MARKER, {**_FORMAT, "config": own})
    for part in (result, *result.get("stages", [])):
        part["files"] = [str(config.output / file) for file in part["files"]]
    return result


def _clean(output: Path) -> None:
    """Delete what a killed run left behind, in the folders of the stages alone.

    Raises:
        DataError: If the marker is that of another kind of folder.
    """
    marker = output / _MARKER
    if marker.exists() and read_json(marker).get("format") != _FORMAT["format"]:
        raise DataError(f"{marker} is not that of a curation: give another `output`.")
    remove_unfinished(output)
    for name in _FOLDERS:
        for folder, _, _ in os.walk(output / name):
            remove_unfinished(Path(folder))


@contextmanager
def _disk_failures(output: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into a message; what is done stays done."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The curation in {output} stopped: {error}. Free space, mend the permissions or give "
            "another `output`; the same command goes on."
        ) from error


class Pipeline:
    """The stages, each after those that it needs.

    Args:
        config: The curation.
        engine: Where the work is done.
    """

    def __init__(self, config: CurationConfig, engine: "_Watched") -> None:
        self._config = config
        self._engine = engine
        self._done: dict[str, StageReport] = {}

    def metadata(self) -> StageReport:
        """Build the list of entries."""
        if needs_captions(self._config.metadata):
            self._pairs()
        return self._once("metadata", build_metadata)

    def match(self) -> StageReport:
        """Match the captions."""
        self._pairs()
        self.metadata()
        return self._once("match", match_captions)

    def balance(self) -> StageReport:
        """Balance the captions."""
        self.match()
        return self._once("balance", balance_captions)

    def embed(self) -> StageReport:
        """Embed the pictures."""
        from dinotxt.curation.pictures import embed_pictures

        self._check_sizes(self._pairs())
        return self._once("embed", embed_pictures)

    def cluster(self) -> StageReport:
        """Cluster the pictures and balance them by their clusters."""
        from dinotxt.curation.pictures import cluster_pictures, sample_pictures

        self.embed()
        clusters = self._once("cluster", cluster_pictures)
        balanced = self._once("sample", sample_pictures)
        return replace(
            balanced,
            stage="cluster",
            files=(*clusters.files, *balanced.files),
            details={**clusters.details, **balanced.details},
        )

    def draw(self, epoch: int) -> dict[str, Any]:
        """Draw an epoch."""
        self._pairs()
        if self._config.draw.mode in ("text", "both"):
            self.balance()
        if self._config.draw.mode in ("image", "both"):
            self.cluster()
        self._once("keep", join_probabilities)
        self._engine.stage = "draw"
        return draw_epoch(self._config, self._engine, epoch=epoch)

    def run(self, epoch: int) -> dict[str, Any]:
        """Do all stages, draw an epoch and write the report."""
        from dinotxt.curation.report import write_report

        drawn = self.draw(epoch)
        self._engine.stage = "report"
        files = write_report(self._config, drawn)
        stages = [report.to_dict() for report in self._done.values()]
        pool = self._done["pairs"]
        reasons = dict(sorted([*pool.reasons.items(), *drawn["reasons"].items()]))
        return {
            **drawn,
            "stage": "run",
            "n_in": pool.n_in,
            "reasons": reasons,
            "files": [*drawn["files"], *files],
            "stages": stages,
        }

    def skipped(self) -> list[dict[str, str]]:
        """Return what was missing or damaged, of all stages so far."""
        return [skip for report in self._done.values() for skip in report.to_dict()["skipped"]]

    def _pairs(self) -> StageReport:
        return self._once("pairs", collect_pairs)

    def _once(
        self, name: str, stage: Callable[[CurationConfig, Engine], StageReport]
    ) -> StageReport:
        if name not in self._done:
            self._engine.stage = name
            self._done[name] = stage(self._config, self._engine)
        return self._done[name]

    def _check_sizes(self, pairs: StageReport) -> None:
        """Refuse what cannot work before the pictures are embedded."""
        settings = self._config.image
        pictures = int(pairs.details["num_pictures"])
        if settings.levels[0] > pictures:
            raise DataError(
                f"{pictures} pictures cannot make {settings.levels[0]} clusters: "
                f"set image.levels to at most {pictures}."
            )
        if settings.target > max(pairs.n_out, 1):
            raise DataError(
                f"image.target is {settings.target:g}, but the pool has {pairs.n_out} pairs: "
                "give a smaller number, or a share such as 0.65."
            )


class _Watched:
    """An engine that reports progress."""

    def __init__(self, engine: Engine, progress: Progress | None) -> None:
        self._engine = engine
        self._progress = progress
        self.stage = ""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        listed = items if isinstance(items, Collection) else list(items)
        for done, result in enumerate(self._engine.map(function, listed), 1):
            if self._progress:
                self._progress(self.stage, done, len(listed))
            yield result
